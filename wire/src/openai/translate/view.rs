//! Typed reading of what message types keep in `extra`.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::Extra;
use crate::canonical::{CacheMark, CacheTtl, Unreadable};

/// Takes the field `name` out of `extra`; null is absent. `parent` is the path of the object, empty at the top.
pub(super) fn take<T: DeserializeOwned>(
    extra: &mut Extra,
    parent: &str,
    name: &str,
) -> Result<Option<T>, Unreadable> {
    match extra.shift_remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value, &join(parent, name)).map(Some),
    }
}

/// Reads a value whose path is `path`.
pub(super) fn read<T: DeserializeOwned>(value: Value, path: &str) -> Result<T, Unreadable> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let inner = error.path().to_string();
        let field = match inner.as_str() {
            "." => path.to_owned(),
            inner if inner.starts_with('[') => format!("{path}{inner}"),
            inner => format!("{path}.{inner}"),
        };
        Unreadable::new(field, error.into_inner().to_string())
    })
}

/// The path of a field.
pub(super) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") }
}

/// Takes `cache_control`, which is Anthropic's and which clients send in OpenAI's dialect too.
pub(super) fn take_cache_mark(extra: &mut Extra, parent: &str) -> Result<Option<CacheMark>, Unreadable> {
    let Some(mark) = take::<Extra>(extra, parent, "cache_control")? else { return Ok(None) };
    let ttl = match mark.get("ttl").and_then(Value::as_str) {
        None | Some("5m") => CacheTtl::FiveMinutes,
        Some("1h") => CacheTtl::OneHour,
        Some(other) => {
            let problem = format!("must be \"5m\" or \"1h\", got \"{other}\"");
            return Err(Unreadable::new(join(parent, "cache_control.ttl"), problem));
        }
    };
    Ok(Some(CacheMark { ttl }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bad_value_has_its_whole_path() {
        let mut extra = Extra::new();
        extra.insert("tools".into(), json!([{"type": "function"}, {"type": 7}]));
        let error = take::<Vec<super::super::super::chat::ToolDefinition>>(&mut extra, "", "tools")
            .expect_err("a number is no type");
        assert_eq!(error.field, "tools[1].type");
        assert_eq!(read::<String>(json!(1), "user").expect_err("no string").field, "user");
    }
}
