//! Writing events.

/// The data that ends a stream in OpenAI's dialect.
pub const DONE: &str = "[DONE]";

/// Whether `data` is that mark, as OpenAI's clients see it: by how it begins.
pub fn is_done(data: &[u8]) -> bool {
    data.trim_ascii_start().starts_with(DONE.as_bytes())
}

/// Appends an event with `data` to `out`. A line break inside `data` becomes a further `data:` line, so no
/// text can forge an event.
pub fn event(data: &str, out: &mut Vec<u8>) {
    out.reserve(data.len() + 8);
    for line in lines(data) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    out.push(b'\n');
}

/// Appends an event with a name. Line breaks in `name` are dropped.
pub fn named_event(name: &str, data: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend(name.bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')));
    out.push(b'\n');
    event(data, out);
}

/// Appends a comment: clients skip it, and it keeps idle connections open.
pub fn comment(text: &str, out: &mut Vec<u8>) {
    for line in lines(text) {
        out.extend_from_slice(b": ");
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    out.push(b'\n');
}

/// Lines as the event-stream grammar sees them: ended by CR LF, LF or CR.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest?;
        let Some(end) = current.find(['\r', '\n']) else {
            rest = None;
            return Some(current);
        };
        let (line, tail) = current.split_at(end);
        rest = Some(tail.strip_prefix("\r\n").unwrap_or_else(|| tail.get(1..).unwrap_or_default()));
        Some(line)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_data_line_and_a_blank_line() {
        let mut out = Vec::new();
        event(r#"{"a":1}"#, &mut out);
        event(DONE, &mut out);
        assert_eq!(out, b"data: {\"a\":1}\n\ndata: [DONE]\n\n");
    }

    #[test]
    fn line_breaks_cannot_forge_an_event() {
        let mut out = Vec::new();
        event("a\n\nevent: x\rb\r\nc", &mut out);
        assert_eq!(out, b"data: a\ndata: \ndata: event: x\ndata: b\ndata: c\n\n");
    }
}
