use std::path::Path;

use super::{Compiled, MANIFEST, PackError, Places, find, read, write};
use crate::compile::Architecture;
use crate::sources::KERNELS;

/// A pack of `architecture` whose code is its modules' names.
fn pack(folder: &Path, architecture: Architecture) {
    let module = |source: &crate::sources::Source| Compiled {
        module: source.name,
        image: source.name.as_bytes().to_vec(),
        usage: Vec::new(),
    };
    write(folder, &[(architecture, KERNELS.iter().map(module).collect())]).unwrap();
}

#[test]
fn what_was_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    pack(folder.path(), Architecture::Sm90a);
    let code = read(folder.path(), Architecture::Sm90a).unwrap();
    let names: Vec<_> =
        code.modules.iter().map(|module| String::from_utf8(module.image.clone()).unwrap()).collect();
    assert_eq!(names, KERNELS.iter().map(|source| source.name).collect::<Vec<_>>());
}

#[test]
fn packs_of_the_same_code_are_the_same_bytes() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    pack(first.path(), Architecture::Sm80);
    pack(second.path(), Architecture::Sm80);
    let manifest = |folder: &Path| std::fs::read(folder.join(MANIFEST)).unwrap();
    assert_eq!(manifest(first.path()), manifest(second.path()));
}

#[test]
fn one_changed_byte_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    pack(folder.path(), Architecture::Sm90a);
    let path = folder.path().join("sm_90a/product.cubin");
    std::fs::write(&path, "product.cv").unwrap();
    let error = read(folder.path(), Architecture::Sm90a).unwrap_err();
    assert!(matches!(&error, PackError::Damaged { path: at, .. } if *at == path), "{error}");
    assert!(error.to_string().contains("fetch the pack again"), "{error}");
}

#[test]
fn a_pack_of_other_sources_or_for_other_cards_is_refused_and_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    pack(folder.path(), Architecture::Sm80);
    let places = Places { pack: folder.path().to_owned(), cache: folder.path().join("cache") };
    let error = find(&places, (9, 0)).unwrap_err();
    assert!(matches!(error, PackError::NoArchitecture { .. }), "{error}");
    let manifest = folder.path().join(MANIFEST);
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace(&crate::sources::digest(), "0")).unwrap();
    let error = find(&places, (8, 0)).unwrap_err();
    assert!(matches!(error, PackError::OtherVersion { .. }), "{error}");
    std::fs::write(&manifest, "{").unwrap();
    let error = find(&places, (8, 0)).unwrap_err();
    assert!(matches!(error, PackError::Manifest { .. }), "{error}");
    let error = find(&places, (7, 5)).unwrap_err();
    assert_eq!(error.to_string(), "kernels need compute capability 8.0 or later, and the card has 7.5");
}
