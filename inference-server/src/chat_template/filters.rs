//! Filters that write other text in jinja2 than in minijinja.

use minijinja::value::Kwargs;
use minijinja::{Error, State};

/// What a step is charged for, as minijinja's own filters have it.
const BYTES_PER_STEP: usize = 64;

/// `indent`: a line break at the end of `text` stays, and lines end wherever Python says that they do.
pub(super) fn indent(
    state: &State<'_, '_>,
    text: String,
    width: Option<usize>,
    first: Option<bool>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let width = width.or(kwargs.get("width")?).unwrap_or(4);
    let first = first.or(kwargs.get("first")?).unwrap_or(false);
    let blank = kwargs.get::<Option<bool>>("blank")?.unwrap_or(false);
    kwargs.assert_all_used()?;
    let lines = lines(&text);
    let length = lines.len().saturating_mul(width).saturating_add(text.len());
    state.consume_fuel((length / BYTES_PER_STEP) as u64)?;
    let margin = " ".repeat(width);
    let mut indented = String::with_capacity(length);
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            indented.push('\n');
        }
        let indents = if index == 0 { first } else { blank || !line.is_empty() };
        if indents {
            indented.push_str(&margin);
        }
        indented.push_str(line);
    }
    Ok(indented)
}

/// The lines of `text` by Python's `splitlines`, and an empty one after a break at the end.
fn lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some((at, found)) = rest.char_indices().find(|(_, character)| breaks_line(*character)) {
        lines.push(&rest[..at]);
        let after = &rest[at + found.len_utf8()..];
        rest = after.strip_prefix('\n').filter(|_| found == '\r').unwrap_or(after);
    }
    lines.push(rest);
    lines
}

fn breaks_line(character: char) -> bool {
    matches!(character, '\n'..='\r' | '\u{1C}'..='\u{1E}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}
