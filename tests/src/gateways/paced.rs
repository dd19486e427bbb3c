//! Clients of answers that come piece by piece.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::load::Load;
use super::upstream::{CHUNKS, PACE, monotonic};

/// What came of the chunks of some paced answers.
#[derive(Debug, Default)]
pub struct Paced {
    /// From the upstream's sending to the client's reading, of each chunk, in milliseconds.
    pub delays_ms: Vec<f64>,
    /// Chunks that came with the one before, though they were sent long after it.
    pub together: usize,
}

/// Reads `streams` answers at once, whose chunks do not all come at the same time.
///
/// # Errors
/// Where one is no answer, or lacks a chunk.
pub async fn paced(load: &Load, streams: usize) -> Result<Paced> {
    let count = u32::try_from(streams)?;
    let one = |index: u32| async move {
        tokio::time::sleep(PACE * index / count).await;
        read(load).await
    };
    let mut all = Paced::default();
    for Paced { delays_ms, together } in futures::future::try_join_all((0..count).map(one)).await? {
        all.delays_ms.extend(delays_ms);
        all.together += together;
    }
    Ok(all)
}

async fn read(load: &Load) -> Result<Paced> {
    let mut client = load.connect().await?;
    let mut answer = load.open(&mut client).await?;
    let mut paced = Paced::default();
    let mut before: Option<Instant> = None;
    while let Some(event) = answer.event().await? {
        let Some(sent) = sent(&event) else { continue };
        let now = Instant::now();
        let delay = monotonic().checked_sub(sent).context("a chunk came before it was sent")?;
        paced.delays_ms.push(delay.as_secs_f64() * 1e3);
        // Delays differ, but not by that much.
        let together = before.replace(now).is_some_and(|before| now.duration_since(before) < PACE / 8);
        paced.together += usize::from(together);
    }
    ensure!(paced.delays_ms.len() == CHUNKS, "{} of {CHUNKS} chunks came", paced.delays_ms.len());
    Ok(paced)
}

/// The time that a chunk's text is, in whichever order and spacing its fields came.
fn sent(event: &str) -> Option<Duration> {
    let (_, after) = event.split_once("\"content\":")?;
    let (text, _) = after.trim_start().strip_prefix('"')?.split_once('"')?;
    text.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_sending_is_read_from_any_spacing() {
        let time = Some(Duration::from_nanos(12));
        assert_eq!(sent(r#"data: {"choices":[{"delta":{"content":"12"}}]}"#), time);
        assert_eq!(sent(r#"data: {"choices": [{"delta": {"content": "12", "role": null}}]}"#), time);
        assert_eq!(sent("data: [DONE]\n\n"), None);
        assert_eq!(sent(r#"data: {"choices":[{"delta":{"content":""}}]}"#), None);
    }
}
