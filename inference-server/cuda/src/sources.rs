//! The kernels' text, carried in the program: what NVRTC compiles where there is no pack, and what a pack is of.

use sha2::{Digest, Sha256};

/// A file of `kernels/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name within the folder.
    pub name: &'static str,
    /// Its text.
    pub text: &'static str,
}

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        &[$(Source { name: $name, text: include_str!(concat!("../kernels/", $name)) }),*]
    };
}

/// One module of kernels each.
pub const KERNELS: &[Source] = sources![
    "attention.cu",
    "embed.cu",
    "expand.cu",
    "experts.cu",
    "gate.cu",
    "lora.cu",
    "norm.cu",
    "pool.cu",
    "product.cu",
    "repack.cu",
    "rotary.cu",
    "rows.cu",
    "sample.cu",
];

/// What kernels include.
pub const HEADERS: &[Source] = sources!["device.cuh", "forms.cuh", "numbers.cuh"];

/// SHA-256 of all names and texts, in hex: code made of other sources is not for this program.
pub fn digest() -> String {
    let mut hasher = Sha256::new();
    for source in KERNELS.iter().chain(HEADERS) {
        for part in [source.name, source.text] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    hex(&hasher.finalize())
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{HEADERS, KERNELS};

    #[test]
    fn every_file_of_the_folder_is_carried() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let there: BTreeSet<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        let carried = KERNELS.iter().chain(HEADERS).map(|source| source.name.to_owned());
        assert_eq!(carried.collect::<BTreeSet<_>>(), there);
    }
}
