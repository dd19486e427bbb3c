//! `tojson` as `transformers` defines it: Python's `json.dumps`, without the HTML escapes that Jinja's own filter adds
//! and that would end up in prompts.

use std::io::{Result as IoResult, Write};

use minijinja::value::{Kwargs, Value};
use minijinja::{Error, ErrorKind};
use serde::Serialize as _;
use serde_json::ser::{Formatter, Serializer};

/// The widest indent that is honoured; more would only be a way to fill memory.
const MAX_INDENT: usize = 16;

pub(super) fn tojson(value: Value, kwargs: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = kwargs.get("indent")?;
    let separators: Option<Value> = kwargs.get("separators")?;
    let ascii = kwargs.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sorted = kwargs.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    kwargs.assert_all_used()?;
    let failed =
        |error: &dyn std::fmt::Display| Error::new(ErrorKind::InvalidOperation, format!("tojson: {error}"));
    let (item, key) = match separators.filter(|separators| !separators.is_none()) {
        Some(separators) => {
            let two: Vec<String> = separators.try_iter()?.map(|one| one.to_string()).collect();
            let [item, key] = two.try_into().map_err(|_| failed(&"separators are two strings"))?;
            (item, key)
        }
        None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        None => (", ".to_owned(), ": ".to_owned()),
    };
    let indent = indent.map(|width| " ".repeat(width.min(MAX_INDENT)));
    let formatter = PythonFormatter { indent, item, key, ascii, depth: 0, filled: false };
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, formatter);
    if sorted {
        let mut json = serde_json::to_value(&value).map_err(|error| failed(&error))?;
        json.sort_all_objects();
        json.serialize(&mut serializer).map_err(|error| failed(&error))?;
    } else {
        value.serialize(&mut serializer).map_err(|error| failed(&error))?;
    }
    Ok(Value::from(String::from_utf8(bytes).map_err(|error| failed(&error))?))
}

/// Writes as `json.dumps` does.
struct PythonFormatter {
    /// One level of it; without, all is one line.
    indent: Option<String>,
    /// Between items.
    item: String,
    /// Between a key and its value.
    key: String,
    /// Whether what is beyond ASCII is escaped.
    ascii: bool,
    depth: usize,
    /// Whether the list or object that ends has anything in it.
    filled: bool,
}

impl PythonFormatter {
    fn open<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> IoResult<()> {
        self.depth += 1;
        self.filled = false;
        out.write_all(bracket)
    }

    fn next<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> IoResult<()> {
        if !first {
            out.write_all(self.item.as_bytes())?;
        }
        self.line(out)
    }

    fn close<W: ?Sized + Write>(&mut self, out: &mut W, bracket: &[u8]) -> IoResult<()> {
        self.depth -= 1;
        if self.filled {
            self.line(out)?;
        }
        self.filled = true;
        out.write_all(bracket)
    }

    fn line<W: ?Sized + Write>(&self, out: &mut W) -> IoResult<()> {
        let Some(indent) = &self.indent else { return Ok(()) };
        out.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| out.write_all(indent.as_bytes()))
    }
}

impl Formatter for PythonFormatter {
    fn begin_array<W: ?Sized + Write>(&mut self, out: &mut W) -> IoResult<()> {
        self.open(out, b"[")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> IoResult<()> {
        self.next(out, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _: &mut W) -> IoResult<()> {
        self.filled = true;
        Ok(())
    }

    fn end_array<W: ?Sized + Write>(&mut self, out: &mut W) -> IoResult<()> {
        self.close(out, b"]")
    }

    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> IoResult<()> {
        self.open(out, b"{")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> IoResult<()> {
        self.next(out, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> IoResult<()> {
        out.write_all(self.key.as_bytes())
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, _: &mut W) -> IoResult<()> {
        self.filled = true;
        Ok(())
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> IoResult<()> {
        self.close(out, b"}")
    }

    /// Python writes an exponent with its sign and at least two digits.
    fn write_f64<W: ?Sized + Write>(&mut self, out: &mut W, value: f64) -> IoResult<()> {
        let text = format!("{value:?}");
        match text.split_once('e') {
            Some((digits, exponent)) => {
                let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |size| ('-', size));
                write!(out, "{digits}e{sign}{exponent:0>2}")
            }
            None => out.write_all(text.as_bytes()),
        }
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> IoResult<()> {
        if !self.ascii {
            return out.write_all(fragment.as_bytes());
        }
        for character in fragment.chars() {
            if matches!(character, ' '..='~') {
                out.write_all(&[character as u8])?;
            } else {
                let mut units = [0; 2];
                character
                    .encode_utf16(&mut units)
                    .iter()
                    .try_for_each(|unit| write!(out, "\\u{unit:04x}"))?;
            }
        }
        Ok(())
    }
}
