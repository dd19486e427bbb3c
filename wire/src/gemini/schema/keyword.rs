//! JSON Schema's keywords, by what becomes of them.

/// What becomes of a keyword in the subset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The subset has it, with the same meaning.
    Kept,
    /// It is read together with others.
    Translated,
    /// It says nothing about which values are valid.
    Remark,
    /// Without it other values are valid.
    Lost,
}

/// What becomes of `keyword`. JSON Schema ignores words it does not know, so those are remarks.
pub(super) fn fate(keyword: &str) -> Fate {
    match keyword {
        "title" | "description" | "default" | "minItems" | "maxItems" | "minProperties" | "maxProperties"
        | "minimum" | "maximum" | "minLength" | "maxLength" | "pattern" | "example" | "nullable"
        | "propertyOrdering" => Fate::Kept,
        "type"
        | "format"
        | "enum"
        | "const"
        | "properties"
        | "required"
        | "items"
        | "anyOf"
        | "oneOf"
        | "allOf"
        | "$ref"
        | "$defs"
        | "definitions"
        | "additionalProperties"
        | "unevaluatedProperties"
        | "exclusiveMinimum"
        | "exclusiveMaximum" => Fate::Translated,
        "multipleOf" | "uniqueItems" | "patternProperties" | "propertyNames" | "dependentRequired"
        | "dependentSchemas" | "dependencies" | "if" | "then" | "else" | "not" | "contains"
        | "minContains" | "maxContains" | "prefixItems" | "additionalItems" | "unevaluatedItems"
        | "$dynamicRef" | "$recursiveRef" => Fate::Lost,
        _ => Fate::Remark,
    }
}

/// The formats that the subset takes for a type; of others Google says that they are no formats.
pub(super) fn takes_format(kind: Option<&str>, format: &str) -> bool {
    match kind {
        Some("STRING") => matches!(format, "date-time" | "enum"),
        Some("INTEGER") => matches!(format, "int32" | "int64"),
        Some("NUMBER") => matches!(format, "float" | "double"),
        Some(_) | None => false,
    }
}
