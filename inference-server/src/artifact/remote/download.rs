//! Bringing the missing bytes of a partial file, in parallel ranges where the server allows it.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::BytesMut;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use super::super::origin::Origin;
use super::super::{FetchError, Phase, Progress, ProgressSink, Resolver};
use super::client::{Answer, Follow, RemoteClient};
use super::partial::Partial;
use super::retry::retrying;

/// Bytes gathered before they are written, and between two reports of progress.
const WRITE_BYTES: usize = 1 << 20;

/// One download into one partial file.
pub(super) struct Download<'a> {
    client: &'a RemoteClient,
    resolver: &'a Resolver,
    origin: &'a Origin,
    url: &'a Url,
    partial: &'a Partial,
    progress: &'a ProgressSink,
    /// Where the server sent us last: asking it again for every range would count against its rate limit.
    location: Mutex<Option<Url>>,
    fetched: AtomicU64,
}

impl<'a> Download<'a> {
    pub(super) fn new(
        client: &'a RemoteClient,
        resolver: &'a Resolver,
        (origin, url): (&'a Origin, &'a Url),
        partial: &'a Partial,
        progress: &'a ProgressSink,
    ) -> Self {
        let (location, fetched) = (Mutex::default(), AtomicU64::new(0));
        Self { client, resolver, origin, url, partial, progress, location, fetched }
    }

    /// Fetches what is missing; returns how many bytes came.
    pub(super) async fn run(&self) -> Result<u64, FetchError> {
        self.report();
        match self.ranges().await {
            Err(FetchError::RangesIgnored) => {
                tracing::info!("the server ignores ranges: fetching the file in one piece, not resumable");
                self.whole().await?;
            }
            other => other?,
        }
        Ok(self.fetched.load(Ordering::Relaxed))
    }

    async fn ranges(&self) -> Result<(), FetchError> {
        let settings = &self.resolver.settings;
        let mut missing = self.partial.missing(settings.range_bytes).into_iter();
        // The first goes alone: from its answer the others know the address and what to compare with.
        let Some(first) = missing.next() else { return Ok(()) };
        self.range(first).await?;
        stream::iter(missing.map(|range| self.range(range)))
            .buffer_unordered(settings.parallel.max(1))
            .try_collect::<()>()
            .await
    }

    async fn range(&self, range: Range<u64>) -> Result<(), FetchError> {
        // Bytes that came before a drop count: the next try goes on after them.
        let reached = AtomicU64::new(range.start);
        let fetched = retrying(&self.resolver.settings, self.resolver.clock.as_ref(), || {
            self.range_once(reached.load(Ordering::Relaxed)..range.end, &reached)
        })
        .await;
        // A refusal of the server must not hide behind a full disk, nor the reverse.
        let saved = self.partial.save().await.map_err(FetchError::Write);
        fetched.and(saved)
    }

    async fn range_once(&self, range: Range<u64>, reached: &AtomicU64) -> Result<(), FetchError> {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, value(&format!("bytes={}-{}", range.start, range.end - 1))?);
        if let Some(validator) = self.partial.validator().filter(|validator| !validator.starts_with("W/")) {
            headers.insert(IF_RANGE, value(&validator)?);
        }
        let answer = self.get(&headers).await?;
        let same = self.same_content(&answer);
        match answer.status {
            StatusCode::PARTIAL_CONTENT if same => {
                self.check_range(&answer, &range)?;
                self.receive(answer, range, reached).await
            }
            StatusCode::OK if same => Err(FetchError::RangesIgnored),
            _ => Err(self.changed()),
        }
    }

    /// The whole file in one answer, for servers that can't do better.
    async fn whole(&self) -> Result<(), FetchError> {
        let total = self.partial.bytes();
        retrying(&self.resolver.settings, self.resolver.clock.as_ref(), || async {
            self.partial.start_over();
            let answer = self.get(&HeaderMap::new()).await?;
            let length = answer.header(CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok());
            let whole = answer.status == StatusCode::OK && length.is_none_or(|length: u64| length == total);
            if !whole || !self.same_content(&answer) {
                return Err(self.changed());
            }
            self.receive(answer, 0..total, &AtomicU64::new(0)).await
        })
        .await
    }

    /// An answer of 200, 206 or 416, from where the server sent us.
    async fn get(&self, headers: &HeaderMap) -> Result<Answer, FetchError> {
        let known = self.location.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let url = known.as_ref().unwrap_or(self.url);
        let answer = self.client.send(Method::GET, url, headers, Follow::Anywhere).await?;
        let status = answer.status.as_u16();
        if matches!(status, 200 | 206 | 416) {
            *self.location.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer.url.clone());
            return Ok(answer);
        }
        *self.location.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // What storage refuses speaks of its signed address, not of our token or our spelling.
        if matches!(status, 400 | 401 | 403 | 404 | 410) && !self.client.is_home(&answer.url) {
            return Err(FetchError::LocationExpired(status));
        }
        Err(self.client.refusal(&answer, &self.origin.revision))
    }

    /// Whether the server's entity tag is the one of the bytes that we have; the first is remembered.
    fn same_content(&self, answer: &Answer) -> bool {
        match (self.partial.validator(), answer.identity()) {
            (Some(known), Some(sent)) => known == sent,
            (Some(_), None) => answer.status == StatusCode::PARTIAL_CONTENT,
            (None, Some(sent)) => {
                self.partial.set_validator(sent.to_owned());
                true
            }
            (None, None) => true,
        }
    }

    fn check_range(&self, answer: &Answer, range: &Range<u64>) -> Result<(), FetchError> {
        let named = answer.header(CONTENT_RANGE.as_str()).and_then(content_range);
        let (start, end, total) =
            named.ok_or_else(|| self.nonsense(answer, "a range without Content-Range"))?;
        if total.is_some_and(|total| total != self.partial.bytes()) {
            return Err(self.changed());
        }
        if start != range.start || end != range.end {
            return Err(self.nonsense(answer, "another range than the one asked for"));
        }
        Ok(())
    }

    async fn receive(
        &self,
        mut answer: Answer,
        range: Range<u64>,
        reached: &AtomicU64,
    ) -> Result<(), FetchError> {
        let (mut offset, mut gathered) = (range.start, BytesMut::new());
        let ended = loop {
            let data = match answer.next().await {
                Ok(Some(data)) => data,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            };
            if data.len() as u64 > range.end - offset - gathered.len() as u64 {
                break Err(self.nonsense(&answer, "more bytes than were asked for"));
            }
            gathered.extend_from_slice(&data);
            if gathered.len() >= WRITE_BYTES {
                offset = self.put(offset, &mut gathered, reached).await?;
            }
        };
        offset = self.put(offset, &mut gathered, reached).await?;
        ended?;
        if offset < range.end {
            let (got, wanted) = (offset - range.start, range.end - range.start);
            return Err(FetchError::Short { host: answer.host(), got, wanted });
        }
        Ok(())
    }

    async fn put(
        &self,
        offset: u64,
        gathered: &mut BytesMut,
        reached: &AtomicU64,
    ) -> Result<u64, FetchError> {
        let data = gathered.split().freeze();
        let length = data.len() as u64;
        if length > 0 {
            self.partial.write(offset, data).await.map_err(FetchError::Write)?;
            reached.store(offset + length, Ordering::Relaxed);
            self.fetched.fetch_add(length, Ordering::Relaxed);
            self.report();
        }
        Ok(offset + length)
    }

    fn report(&self) {
        let (bytes, total) = (self.partial.done_bytes(), self.partial.bytes());
        (self.progress)(Progress { phase: Phase::Download, bytes, total });
    }

    fn changed(&self) -> FetchError {
        FetchError::Changed { expected: self.partial.bytes() }
    }

    fn nonsense(&self, answer: &Answer, what: &str) -> FetchError {
        FetchError::Protocol { host: answer.host(), what: what.to_owned() }
    }
}

pub(super) fn value(text: &str) -> Result<HeaderValue, FetchError> {
    HeaderValue::from_str(text).map_err(|_| FetchError::Protocol {
        host: "the server".to_owned(),
        what: format!("its ETag is {text:?}"),
    })
}

/// `bytes 0-9/100` as start, end (exclusive) and total.
pub(super) fn content_range(header: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    Some((first, last.checked_add(1)?, total.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_range_is_read_whole_or_not_at_all() {
        assert_eq!(content_range("bytes 0-9/100"), Some((0, 10, Some(100))));
        assert_eq!(content_range("bytes 5-5/*"), Some((5, 6, None)));
        for bad in ["bytes */100", "0-9/100", "bytes 0-18446744073709551615/1", "bytes a-b/c", ""] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
