//! Protobuf's JSON: names in either case, and none that it does not know.

use serde_json::Value;

use crate::simulator::error::Refusal;

/// The field of this name, which is in camel case; protobuf reads both.
pub(super) fn get<'a>(value: &'a Value, name: &str) -> &'a Value {
    static NULL: Value = Value::Null;
    value.get(name).or_else(|| value.get(snake(name))).unwrap_or(&NULL)
}

/// The elements of a repeated field.
pub(super) fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    get(value, name).as_array().into_iter().flatten()
}

fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// Refuses the first field of `value`, which lies at `place`, that is not `known`.
pub(super) fn only(place: &str, value: &Value, known: &[&str]) -> Result<(), Refusal> {
    let is_known = |name: &str| known.iter().any(|known| *known == name || snake(known) == name);
    let unknown = value.as_object().into_iter().flatten().find(|(name, _)| !is_known(name));
    unknown.map_or(Ok(()), |(name, _)| {
        let at = if place.is_empty() { String::new() } else { format!(" at '{place}'") };
        let message =
            format!("Invalid JSON payload received. Unknown name \"{name}\"{at}: Cannot find field.");
        Err(Refusal::bad(message))
    })
}
