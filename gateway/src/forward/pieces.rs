//! A request's body in pieces.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Bytes sent one piece after the other with one length. An edited body shares its unchanged bytes with the
/// received one: a prompt is not copied to change a name in it. Clones are cheap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pieces(VecDeque<Bytes>);

impl Pieces {
    /// `body` with each span replaced. `edits` are in order and apart.
    pub(crate) fn edited(body: &Bytes, edits: Vec<(Range<usize>, String)>) -> Self {
        let mut pieces = VecDeque::with_capacity(2 * edits.len() + 1);
        let mut from = 0;
        for (span, new) in edits {
            pieces.push_back(body.slice(from..span.start));
            pieces.push_back(Bytes::from(new));
            from = span.end;
        }
        pieces.push_back(body.slice(from..));
        pieces.retain(|piece| !piece.is_empty());
        Self(pieces)
    }
}

impl From<Bytes> for Pieces {
    fn from(body: Bytes) -> Self {
        Self::edited(&body, Vec::new())
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|piece| piece.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn edits_replace_their_spans_only() {
        let body = Bytes::from_static(b"0123456789");
        for (edits, expected) in [
            (vec![], "0123456789"),
            (vec![(0..1, "a"), (9..10, "")], "a12345678"),
            (vec![(3..5, "xyz"), (5..5, "-")], "012xyz-56789"),
        ] {
            let edits = edits.into_iter().map(|(span, new): (_, &str)| (span, new.to_owned())).collect();
            let pieces = Pieces::edited(&body, edits);
            assert_eq!(pieces.size_hint().exact(), Some(expected.len() as u64));
            let sent = pieces.collect().await.expect("infallible").to_bytes();
            assert_eq!(sent, expected);
        }
        assert!(Pieces::from(Bytes::new()).is_end_stream());
    }

    #[test]
    fn what_is_not_edited_is_not_copied() {
        let body = Bytes::from(vec![b'x'; 1 << 20]);
        let pieces = Pieces::edited(&body, vec![(10..11, "new".to_owned())]);
        let received = body.as_ptr_range();
        let shared = |piece: &&Bytes| received.contains(&piece.as_ptr());
        let bytes: usize = pieces.0.iter().filter(shared).map(Bytes::len).sum();
        assert_eq!((bytes, pieces.0.len()), (body.len() - 1, 3));
    }
}
