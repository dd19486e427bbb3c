//! JSON objects out of bytes that are cut anywhere: the elements of an array, or objects one after the other.

/// Finds objects by counting braces outside strings, which is how Google's own clients do it. What stands between them
/// (the array's brackets, commas, white space) is handed out as it came. All pieces, one after the other, are the bytes.
#[derive(Clone, Debug)]
pub(crate) struct JsonPieces {
    buffer: Vec<u8>,
    /// The length of a whole object at the buffer's start.
    whole: Option<usize>,
    /// Bytes of the buffer that were looked at.
    searched: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    max_bytes: usize,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Bytes before an object or after one.
    Between(Vec<u8>),
    /// A whole object.
    Object(Vec<u8>),
}

/// An object is larger than what is kept for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl JsonPieces {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            buffer: Vec::new(),
            whole: None,
            searched: 0,
            depth: 0,
            in_string: false,
            escaped: false,
            max_bytes,
        }
    }

    /// Adds bytes; call [`JsonPieces::next`] until it returns `None` before adding more.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, TooLarge> {
        if let Some(length) = self.whole.take() {
            return self.object(length).map(Some);
        }
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
        // What comes before an object is handed out first, so that an object always begins the buffer.
        let before = match (end, self.depth) {
            (None, 0) => self.buffer.len(),
            (Some(_), _) | (None, _) => start.unwrap_or_default(),
        };
        let between: Vec<u8> = self.buffer.drain(..before).collect();
        match end {
            Some(end) if between.is_empty() => return self.object(end).map(Some),
            Some(end) => self.whole = Some(end - before),
            None => self.searched = self.buffer.len(),
        }
        if self.whole.is_none() && self.buffer.len() > self.max_bytes {
            return Err(TooLarge);
        }
        Ok((!between.is_empty()).then_some(Piece::Between(between)))
    }

    fn object(&mut self, length: usize) -> Result<Piece, TooLarge> {
        self.searched = 0;
        if length > self.max_bytes {
            return Err(TooLarge);
        }
        Ok(Piece::Object(self.buffer.drain(..length).collect()))
    }

    /// Whether an object has begun and not ended.
    pub(crate) fn is_within(&self) -> bool {
        self.depth > 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(chunks: &[&[u8]]) -> Vec<String> {
        let mut reader = JsonPieces::new(1 << 16);
        let (mut found, mut all) = (Vec::new(), Vec::new());
        for chunk in chunks {
            reader.push(chunk);
            while let Some(piece) = reader.next().expect("within the limit") {
                let (Piece::Between(bytes) | Piece::Object(bytes)) = &piece;
                all.extend_from_slice(bytes);
                if let Piece::Object(object) = piece {
                    found.push(String::from_utf8(object).expect("UTF-8"));
                }
            }
        }
        assert!(!reader.is_within());
        assert_eq!(all, chunks.concat(), "the pieces are the bytes");
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
        let mut reader = JsonPieces::new(8);
        reader.push(br#"[{"a":"0123456789"}"#);
        assert_eq!(reader.next(), Ok(Some(Piece::Between(b"[".to_vec()))));
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
