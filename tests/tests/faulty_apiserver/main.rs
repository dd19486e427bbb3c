//! The operator's own process on the real apiserver, through a loopback proxy that spoils one write of it, or what its
//! watches tell: whatever it is, all ends as without, and nothing is written any more.
//!
//! The wide sweep is in process, against an apiserver of our own (`src/faults`): this one shows that what holds there
//! holds on the real one too.

mod bed;
mod proxy;
mod state;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use bed::{Bed, Step};
use proxy::{Fault, Write};

/// Cases that run at once, each in a namespace and with an operator of its own.
const LANES: usize = 4;

fn weights(context: u32) -> serde_json::Value {
    json!({"source": "hf://org/repo/file.gguf", "engine": {"contextLength": context}})
}

/// What people do to one model of both worlds.
fn course() -> Vec<Step> {
    let external = json!({"provider": "acme", "model": "large"});
    let both = |serve: &str, context| {
        let spec = json!({"serve": serve, "openWeights": weights(context), "external": external});
        Step::Model(spec)
    };
    vec![
        both("OpenWeights", 64),
        both("OpenWeights", 128),
        Step::Scale(2),
        both("External", 128),
        both("OpenWeights", 128),
        Step::Delete,
    ]
}

#[tokio::test]
async fn a_crash_or_a_lost_answer_at_any_write_changes_no_end() -> Result<()> {
    swept(&[Fault::Crash, Fault::Lost]).await
}

#[tokio::test]
async fn refused_and_spoiled_writes_are_made_good() -> Result<()> {
    swept(&[Fault::Refused(500), Fault::Refused(409), Fault::Touched]).await
}

/// Each of `faults` at each write of the course, the course whole each time.
async fn swept(faults: &[Fault]) -> Result<()> {
    let bed = Bed::new("faulty").await?;
    let (_, writes) = bed.run(&course(), None, &[]).await?;
    ensure!(writes.len() > 15, "few writes: {writes:#?}");
    let cases: Vec<(Write, Fault)> =
        writes.iter().flat_map(|write| faults.iter().map(|fault| (write.clone(), *fault))).collect();
    let share = cases.len().div_ceil(LANES);
    let lanes = cases.chunks(share).map(|cases| Box::pin(lane(cases)));
    let unmet = futures::future::try_join_all(lanes).await?.concat();
    // What a status or an Event says on the way depends on who was quicker: not every write of it comes again.
    let due: Vec<_> =
        unmet.iter().filter(|what| !what.contains("/status") && !what.contains("events")).collect();
    ensure!(due.is_empty(), "of {} cases these never met their write: {due:#?}", cases.len());
    ensure!(unmet.len() * 2 < cases.len(), "{} of {} cases never met their write", unmet.len(), cases.len());
    Ok(())
}

/// Runs cases one after the other, against the ends of a run without a fault. Returns those that never met their write.
async fn lane(cases: &[(Write, Fault)]) -> Result<Vec<String>> {
    let bed = Bed::new("faulty").await?;
    let (ends, _) = bed.run(&course(), None, &[]).await?;
    let mut unmet = Vec::new();
    for (write, fault) in cases {
        let spoilt = bed.run(&course(), Some((write, *fault)), &ends).await;
        spoilt.with_context(|| format!("{fault:?} at {write}"))?;
        if !bed.met() {
            unmet.push(format!("{fault:?} at {write}"));
        }
    }
    Ok(unmet)
}

/// Time travel: the operator starts anew before an apiserver whose lists are of an earlier revision and whose watches tell
/// nothing yet.
#[tokio::test]
async fn a_start_in_the_past_takes_nothing_down() -> Result<()> {
    let bed = Bed::new("past").await?;
    let mut pasts = vec![bed.revision().await?];
    for step in &course()[..3] {
        bed.make(step).await?;
        bed.rest(step).await?;
        pasts.push(bed.revision().await?);
    }
    let before = bed.deployments().await?;
    let state = bed.state().await?;
    for past in &pasts {
        bed.travel(past).await?;
        assert_eq!(bed.deployments().await?, before, "with the view of revision {past}");
        bed.come_back().await?;
        bed.ends_as(&state).await?;
        assert_eq!(bed.deployments().await?, before, "after the view of revision {past}");
    }
    Ok(())
}

/// Unobserved: what changes while watches tell nothing is found by the list that follows.
#[tokio::test]
async fn what_no_watch_told_is_found_by_the_next_list() -> Result<()> {
    let bed = Bed::new("unseen").await?;
    let (ends, _) = bed.run(&course(), None, &[]).await?;
    for (index, step) in course().iter().enumerate() {
        bed.swallow();
        bed.make(step).await?;
        bed.tell_again();
        bed.ends_as(&ends[index]).await.with_context(|| format!("unseen: {step:?}"))?;
    }
    Ok(())
}
