//! Bytes of tokens to text as it grows: half characters and half stop strings are held back.

/// What one more token added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Text that is certain; may be empty.
    pub text: String,
    /// The stop string that ended the text, which is not part of it.
    pub stopped: Option<String>,
}

/// Turns the growing bytes of one answer into text.
///
/// Guarantee: however the bytes are cut, the texts together are the same: the bytes read as UTF-8 (what
/// is invalid becomes U+FFFD), up to the stop string that is complete first.
#[derive(Clone, Debug, Default)]
pub struct Detokenizer {
    stops: Vec<String>,
    /// The beginning of a character.
    bytes: Vec<u8>,
    /// Text that may yet turn out to be the beginning of a stop string.
    held: String,
    stopped: bool,
}

impl Detokenizer {
    /// A detokeniser that ends at the first of `stops`; empty ones are left out.
    pub fn new(stops: Vec<String>) -> Self {
        let stops = stops.into_iter().filter(|stop| !stop.is_empty()).collect();
        Self { stops, ..Self::default() }
    }

    /// Adds a token's bytes. After a stop string nothing more comes.
    pub fn push(&mut self, bytes: &[u8]) -> Piece {
        if self.stopped {
            return Piece::default();
        }
        self.bytes.extend_from_slice(bytes);
        self.decode();
        if let Some((start, stop)) = self.first_stop() {
            let stopped = Some(stop.to_owned());
            self.stopped = true;
            self.held.truncate(start);
            return Piece { text: std::mem::take(&mut self.held), stopped };
        }
        let certain = self.held.len() - self.undecided();
        let rest = self.held.split_off(certain);
        Piece { text: std::mem::replace(&mut self.held, rest), stopped: None }
    }

    /// Ends the answer: what was held back for more to come is text after all.
    pub fn finish(&mut self) -> String {
        if self.stopped {
            return String::new();
        }
        self.stopped = true;
        let tail = String::from_utf8_lossy(&self.bytes).into_owned();
        std::mem::take(&mut self.held) + &tail
    }

    /// Moves whole characters from `bytes` to `held`.
    fn decode(&mut self) {
        let mut incomplete = 0;
        let mut read = 0;
        for chunk in self.bytes.utf8_chunks() {
            self.held.push_str(chunk.valid());
            read += chunk.valid().len() + chunk.invalid().len();
            let may_grow =
                std::str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none());
            if may_grow && read == self.bytes.len() {
                incomplete = chunk.invalid().len();
            } else if !chunk.invalid().is_empty() {
                self.held.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.bytes.drain(..self.bytes.len() - incomplete);
    }

    /// The stop string that is complete first, and where it starts.
    fn first_stop(&self) -> Option<(usize, &str)> {
        let found =
            self.stops.iter().filter_map(|stop| Some((self.held.find(stop.as_str())?, stop.as_str())));
        found.min_by_key(|(start, stop)| (start + stop.len(), *start))
    }

    /// Bytes at the end of `held` that begin some stop string.
    fn undecided(&self) -> usize {
        let longest = |stop: &String| {
            let most = self.held.len().min(stop.len() - 1);
            (1..=most).rev().find(|len| self.held.as_bytes().ends_with(&stop.as_bytes()[..*len])).unwrap_or(0)
        };
        // A prefix cut inside a character matches no end of `held`, which is whole characters; but it may
        // match bytes that start inside one, so step back to where one starts.
        let undecided = self.stops.iter().map(longest).max().unwrap_or(0);
        let mut from = self.held.len() - undecided;
        while !self.held.is_char_boundary(from) {
            from -= 1;
        }
        self.held.len() - from
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Detokenizer;

    fn all(stops: &[String], pieces: &[&[u8]]) -> (String, Option<String>) {
        let mut detokenizer = Detokenizer::new(stops.to_vec());
        let mut text = String::new();
        let mut stopped = None;
        for bytes in pieces {
            let piece = detokenizer.push(bytes);
            text.push_str(&piece.text);
            stopped = stopped.or(piece.stopped);
        }
        text.push_str(&detokenizer.finish());
        (text, stopped)
    }

    #[test]
    fn half_a_character_is_held_back() {
        let mut detokenizer = Detokenizer::new(vec![]);
        let crab = "🦀".as_bytes();
        assert_eq!(detokenizer.push(&crab[..3]).text, "");
        assert_eq!(detokenizer.push(&crab[3..]).text, "🦀");
        assert_eq!(detokenizer.push(&crab[..2]).text, "");
        assert_eq!(detokenizer.finish(), "\u{FFFD}");
    }

    #[test]
    fn a_stop_string_over_several_tokens_is_never_seen() {
        let mut detokenizer = Detokenizer::new(vec!["###".to_owned()]);
        assert_eq!(detokenizer.push(b"a#").text, "a");
        assert_eq!(detokenizer.push(b"b##").text, "#b");
        let last = detokenizer.push(b"#c");
        assert_eq!((last.text.as_str(), last.stopped.as_deref()), ("", Some("###")));
        assert_eq!(detokenizer.push(b"d").text, "");
        assert_eq!(detokenizer.finish(), "");
    }

    #[test]
    fn a_beginning_that_comes_to_nothing_is_text() {
        assert_eq!(all(&["END".to_owned()], &[b"the EN"]), ("the EN".to_owned(), None));
    }

    #[test]
    fn without_stops_text_comes_at_once() {
        let mut detokenizer = Detokenizer::new(vec![String::new()]);
        assert_eq!(detokenizer.push(b"hello").text, "hello");
    }

    proptest! {
        /// However the bytes are cut, the text is the same, and it is the text read in one piece.
        #[test]
        fn any_cut_gives_the_same_text(
            text in prop_oneof!["[abé🦀 ]{0,40}", "\\PC{0,20}"],
            noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            stops in prop::collection::vec("[abé🦀]{1,3}", 0..4),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut bytes = text.into_bytes();
            for (at, byte) in noise {
                bytes.insert(at.index(bytes.len() + 1), byte);
            }
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let cut = all(&stops, &pieces);
            prop_assert_eq!(&cut, &all(&stops, &[&bytes]));
            let whole = String::from_utf8_lossy(&bytes);
            prop_assert!(whole.starts_with(&cut.0));
            match cut.1 {
                None => prop_assert_eq!(cut.0, whole),
                Some(stop) => prop_assert!(whole[cut.0.len()..].starts_with(&stop)),
            }
        }
    }
}
