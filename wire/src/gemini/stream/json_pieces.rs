//! JSON objects out of bytes that are cut anywhere: the elements of an array, or objects one after the other.

/// Finds objects by counting braces outside strings, which is how Google's own clients do it. What stands between them
/// (the array's brackets, commas, white space) is skipped.
#[derive(Clone, Debug)]
pub(super) struct JsonPieces {
    buffer: Vec<u8>,
    /// Bytes of the buffer that were looked at.
    searched: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    max_bytes: usize,
}

/// An object is larger than what is kept for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl JsonPieces {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { buffer: Vec::new(), searched: 0, depth: 0, in_string: false, escaped: false, max_bytes }
    }

    /// Adds bytes; call [`JsonPieces::next`] until it returns `None` before adding more.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole object.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, TooLarge> {
        let mut start = None;
        let mut end = None;
        for (at, byte) in self.buffer.iter().enumerate().skip(self.searched) {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'{' => {
                    if self.depth == 0 {
                        start = Some(at);
                    }
                    self.depth += 1;
                }
                b'}' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        end = Some(at + 1);
                        break;
                    }
                }
                b'"' if self.depth > 0 => self.in_string = true,
                _ => {}
            }
        }
        let Some(end) = end else {
            // What comes before an object is thrown away, so that an object always begins the buffer.
            let keep = if self.depth > 0 { start.unwrap_or_default() } else { self.buffer.len() };
            self.buffer.drain(..keep);
            self.searched = self.buffer.len();
            return if self.buffer.len() > self.max_bytes { Err(TooLarge) } else { Ok(None) };
        };
        let object = self.buffer.get(start.unwrap_or_default()..end).unwrap_or_default().to_vec();
        self.buffer.drain(..end);
        self.searched = 0;
        if object.len() > self.max_bytes { Err(TooLarge) } else { Ok(Some(object)) }
    }

    /// Whether an object has begun and not ended.
    pub(super) fn is_within(&self) -> bool {
        self.depth > 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(chunks: &[&[u8]]) -> Vec<String> {
        let mut reader = JsonPieces::new(1 << 16);
        let mut found = Vec::new();
        for chunk in chunks {
            reader.push(chunk);
            while let Some(object) = reader.next().expect("within the limit") {
                found.push(String::from_utf8(object).expect("UTF-8"));
            }
        }
        assert!(!reader.is_within());
        found
    }

    #[test]
    fn braces_and_quotes_inside_strings_do_not_count() {
        let text = r#"[{"a":"}{\"\\"},
            {"b":{"c":[{}]}}
            ,{}]"#;
        assert_eq!(pieces(&[text.as_bytes()]), [r#"{"a":"}{\"\\"}"#, r#"{"b":{"c":[{}]}}"#, "{}"]);
    }

    #[test]
    fn an_object_without_end_is_refused() {
        let mut reader = JsonPieces::new(8);
        reader.push(br#"[{"a":"0123456789"#);
        assert_eq!(reader.next(), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_pieces(
            texts in proptest::collection::vec("[a-z{}\"\\\\€\\[\\],]{0,8}", 0..6),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let objects: Vec<String> =
                texts.iter().map(|text| serde_json::json!({"t": text, "n": {"t": [text]}}).to_string()).collect();
            let whole = format!("[{}]", objects.join(",\r\n"));
            let bytes = whole.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.extend([0, bytes.len()]);
            at.sort_unstable();
            let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            prop_assert_eq!(&pieces(&chunks), &objects);
            prop_assert_eq!(&pieces(&bytes.chunks(1).collect::<Vec<_>>()), &objects);
        }
    }
}
