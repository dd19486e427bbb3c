//! Models split over several files, as llama.cpp's `gguf-split` cuts and names them.

use std::path::{Path, PathBuf};

use super::{GgufError, Metadata};

/// What `gguf-split` calls a part: `PREFIX-00001-of-00003.gguf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartName {
    prefix: String,
    /// Of this part, from 1.
    pub(crate) number: u32,
    /// Parts in all.
    pub(crate) count: u32,
}

impl PartName {
    /// Of the first of `count` parts.
    pub(crate) fn new(prefix: &str, count: u32) -> Self {
        Self { prefix: prefix.to_owned(), number: 1, count }
    }

    /// Reads a path or a file's name; `None` for that of a whole file.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (prefix, number) = rest.rsplit_once('-')?;
        let parsed = |digits: &str| {
            let plain = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
            if plain { digits.parse::<u32>().ok() } else { None }
        };
        let (number, count) = (parsed(number)?, parsed(count)?);
        (1..=count).contains(&number).then(|| Self { prefix: prefix.to_owned(), number, count })
    }

    /// Name of part `number`.
    pub(crate) fn of(&self, number: u32) -> String {
        format!("{}-{number:05}-of-{:05}.gguf", self.prefix, self.count)
    }

    /// Names of all parts, in order.
    pub(crate) fn all(&self) -> impl Iterator<Item = String> + '_ {
        (1..=self.count).map(|number| self.of(number))
    }
}

/// The file at `path`, and after it the other parts where its name is that of a first part.
pub(super) fn paths(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(PartName::parse);
    match name.filter(|name| name.number == 1) {
        Some(name) => name.all().map(|name| path.with_file_name(name)).collect(),
        None => vec![path.to_owned()],
    }
}

/// Checks what part `index` of `given`, which lies at `path`, says of itself.
pub(super) fn check_part(
    metadata: &Metadata,
    path: &Path,
    index: usize,
    given: usize,
) -> Result<(), GgufError> {
    let wrong = |problem: String| Err(GgufError::Part { path: path.to_owned(), problem });
    let value = |key: &str| metadata.get(key).and_then(super::Value::as_u64);
    let count = value("split.count").unwrap_or(0);
    if count <= 1 && given == 1 {
        return Ok(());
    }
    if given == 1 {
        return wrong(format!(
            "split.count says {count} parts, and only one is named: name the first part, …-00001-of-{count:05}.gguf, \
             and keep the others beside it"
        ));
    }
    if count != given as u64 {
        return wrong(format!(
            "split.count says {count} parts, and the files' names say {given}: fetch the parts of one model again"
        ));
    }
    match value("split.no") {
        Some(number) if number == index as u64 => Ok(()),
        Some(number) => wrong(format!(
            "split.no says part {}, and its name says part {}: it was renamed; fetch the parts again",
            number.saturating_add(1),
            index + 1
        )),
        None => wrong("it has no split.no: fetch the parts again".to_owned()),
    }
}

/// Checks the number of tensors that the first part, at `path`, promises for all.
pub(super) fn check_total(metadata: &Metadata, path: &Path, found: usize) -> Result<(), GgufError> {
    let promised = metadata.get("split.tensors.count").and_then(super::Value::as_u64);
    if promised.is_some_and(|promised| promised != found as u64) {
        let promised = promised.unwrap_or_default();
        let problem = format!(
            "split.tensors.count says {promised} tensors, and the parts hold {found}: fetch the parts of one model again"
        );
        return Err(GgufError::Part { path: path.to_owned(), problem });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_as_gguf_split_names_them() {
        let name = PartName::parse("sub/m-Q4-00001-of-00003.gguf").unwrap();
        assert_eq!((name.number, name.count), (1, 3));
        assert_eq!(name.all().nth(2).unwrap(), "sub/m-Q4-00003-of-00003.gguf");
        for whole in [
            "m.gguf",
            "m-00001-of-3.gguf",
            "m-00004-of-00003.gguf",
            "m-00000-of-00003.gguf",
            "m-of-00003.gguf",
        ] {
            assert_eq!(PartName::parse(whole), None, "{whole}");
        }
    }
}
