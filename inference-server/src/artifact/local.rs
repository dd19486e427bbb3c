//! Files and folders that are on this machine already: `file:` and, where the claim is mounted, `pvc:`.

use std::collections::{BTreeMap, HashSet};
use std::path::{Component, Path, PathBuf};

use super::{Artifact, ArtifactError, ArtifactRequest, CheckedAgainst, Digest, ProgressSink, parts, verify};
use crate::gguf::PartName;

/// What makes a folder a model's, or an adapter's.
const CONFIGS: [&str; 2] = ["config.json", "adapter_config.json"];

/// Folders above a file that is read: the model's, and that of a module such as `1_Pooling`.
const MAX_DEPTH: usize = 2;

/// A file or a model's folder, named by its absolute path.
pub(super) async fn file(
    path: &str,
    pinned: Option<&Digest>,
    progress: ProgressSink,
) -> Result<Artifact, ArtifactError> {
    let Some(name) = parts::of(path, pinned)? else {
        return checked(PathBuf::from(path), pinned, progress).await;
    };
    split(&name, |part| Ok(PathBuf::from(part)))
}

/// A file, or a model's folder, inside a claim's folder.
pub(super) async fn claim(
    request: &ArtifactRequest,
    claim: &str,
    file: &str,
    progress: ProgressSink,
) -> Result<Artifact, ArtifactError> {
    let folder = request
        .claims
        .get(claim)
        .ok_or_else(|| ArtifactError::ClaimNotMounted { claim: claim.to_owned() })?;
    if !folder.is_dir() {
        return Err(ArtifactError::NoClaimFolder { claim: claim.to_owned(), folder: folder.clone() });
    }
    if let Some(name) = parts::of(file, request.digest.as_ref())? {
        return split(&name, |part| inside(folder, part));
    }
    let path = inside(folder, file)?;
    if path.is_dir() {
        stays_inside(folder, &path)?;
    }
    checked(path, request.digest.as_ref(), progress).await
}

/// The parts of `name`, each found by `find`.
fn split(
    name: &PartName,
    find: impl Fn(&str) -> Result<PathBuf, ArtifactError>,
) -> Result<Artifact, ArtifactError> {
    let mut found = Vec::new();
    for (number, part) in (1..).zip(name.all()) {
        let missing = |error| match error {
            ArtifactError::Missing { path } if number > 1 => {
                ArtifactError::PartMissing { number, count: name.count, path }
            }
            other => other,
        };
        let path = find(&part).map_err(missing)?;
        let metadata = std::fs::metadata(&path).map_err(|source| missing(unreadable(&path, source)))?;
        if !metadata.is_file() {
            return Err(ArtifactError::NotAFile { path });
        }
        let (bytes, checked_against) = (metadata.len(), CheckedAgainst::Nothing);
        tracing::info!(path = %path.display(), bytes, "part of a model found");
        let further = Vec::new();
        found.push(Artifact {
            path,
            further,
            bytes,
            digest: None,
            checked_against,
            commit: None,
            fetched_bytes: 0,
        });
    }
    parts::joined(found).ok_or_else(|| ArtifactError::Missing { path: name.of(1).into() })
}

async fn checked(
    path: PathBuf,
    pinned: Option<&Digest>,
    progress: ProgressSink,
) -> Result<Artifact, ArtifactError> {
    let metadata = std::fs::metadata(&path).map_err(|source| unreadable(&path, source))?;
    if metadata.is_dir() && CONFIGS.iter().any(|config| path.join(config).is_file()) {
        return model_folder(path, pinned);
    }
    if !metadata.is_file() {
        return Err(ArtifactError::NotAFile { path });
    }
    let checked_against = if let Some(expected) = pinned {
        let actual = verify::digest(&path, progress).await?;
        verify::compare(&path.display().to_string(), expected, &actual, CheckedAgainst::Pin)?;
        CheckedAgainst::Pin
    } else {
        CheckedAgainst::Nothing
    };
    tracing::info!(path = %path.display(), bytes = metadata.len(), checked_against = checked_against.in_words(), "model file found");
    let (bytes, digest) = (metadata.len(), pinned.cloned());
    let further = Vec::new();
    Ok(Artifact { path, further, bytes, digest, checked_against, commit: None, fetched_bytes: 0 })
}

/// A folder as the hub keeps models: nobody vouches for its bytes, since a digest names one file.
fn model_folder(path: PathBuf, pinned: Option<&Digest>) -> Result<Artifact, ArtifactError> {
    if pinned.is_some() {
        return Err(ArtifactError::FolderDigest { path });
    }
    let bytes = entries(&path)?.into_iter().filter_map(|entry| std::fs::metadata(entry).ok());
    let bytes = bytes.filter(std::fs::Metadata::is_file).map(|metadata| metadata.len()).sum();
    tracing::info!(path = %path.display(), bytes, "model folder found");
    let checked_against = CheckedAgainst::Nothing;
    let further = Vec::new();
    Ok(Artifact { path, further, bytes, digest: None, checked_against, commit: None, fetched_bytes: 0 })
}

/// Refuses a model's folder with a link that leads out of the claim's, at any depth that is read: whoever may write to
/// a claim may not read the rest of the machine through it. A link inside is how the hub's own cache keeps files.
fn stays_inside(claim: &Path, model: &Path) -> Result<(), ArtifactError> {
    let root = claim.canonicalize().map_err(|source| unreadable(claim, source))?;
    let mut folders = vec![(model.to_owned(), 1)];
    // Links may go round in circles.
    let mut seen: HashSet<PathBuf> = model.canonicalize().into_iter().collect();
    while let Some((folder, depth)) = folders.pop() {
        for path in entries(&folder)? {
            // One that leads nowhere can't be opened either.
            let Ok(target) = path.canonicalize() else { continue };
            if !target.starts_with(&root) {
                return Err(ArtifactError::Escapes { path, folder: claim.to_owned() });
            }
            if depth < MAX_DEPTH && target.is_dir() && seen.insert(target) {
                folders.push((path, depth + 1));
            }
        }
    }
    Ok(())
}

/// Every regular file under `folder`, links followed, by its path from there.
pub(super) fn files(folder: &Path) -> Result<BTreeMap<String, PathBuf>, ArtifactError> {
    let mut found = BTreeMap::new();
    // Links may go round in circles.
    let mut seen: HashSet<PathBuf> = folder.canonicalize().into_iter().collect();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in entries(&next)? {
            if path.is_dir() {
                let is_new = path.canonicalize().is_ok_and(|target| seen.insert(target));
                folders.extend(is_new.then_some(path));
            } else if let Ok(name) = path.strip_prefix(folder) {
                found.insert(name.to_string_lossy().into_owned(), path.clone());
            }
        }
    }
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, ArtifactError> {
    let list = std::fs::read_dir(folder).map_err(|source| unreadable(folder, source))?;
    let paths = list.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<Result<_, _>>().map_err(|source| unreadable(folder, source))
}

/// `relative` under `folder`, links followed; refused when it leaves.
pub(super) fn inside(folder: &Path, relative: &str) -> Result<PathBuf, ArtifactError> {
    let path = folder.join(relative);
    let escapes = || ArtifactError::Escapes { path: path.clone(), folder: folder.to_owned() };
    let plain = Path::new(relative).components().all(|part| matches!(part, Component::Normal(_)));
    if !plain || relative.is_empty() || relative.contains(['\\', '\0']) {
        return Err(escapes());
    }
    let root = folder.canonicalize().map_err(|source| unreadable(folder, source))?;
    let target = path.canonicalize().map_err(|source| unreadable(&path, source))?;
    if target.starts_with(&root) { Ok(target) } else { Err(escapes()) }
}

fn unreadable(path: &Path, source: std::io::Error) -> ArtifactError {
    let path = path.to_owned();
    match source.kind() {
        std::io::ErrorKind::NotFound => ArtifactError::Missing { path },
        _ => ArtifactError::Read { path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ollama CVE-2024-37032: a name out of a request became a path. Guard: `inside`; for digests, `Digest`.
    #[test]
    fn cve_2024_37032_a_path_stays_in_its_folder_whatever_it_is_made_of() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("claim");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        std::fs::write(root.path().join("secret"), b"s").unwrap();
        std::fs::write(folder.join("sub/model"), b"m").unwrap();
        std::os::unix::fs::symlink("../secret", folder.join("out")).unwrap();
        std::os::unix::fs::symlink("sub/model", folder.join("in")).unwrap();
        let outside = root.path().join("secret").display().to_string();

        assert!(inside(&folder, "sub/model").is_ok());
        assert!(inside(&folder, "in").unwrap().ends_with("sub/model"));
        for bad in ["../secret", "sub/../../secret", "out", outside.as_str(), "", ".", "sub\\model", "a\0b"] {
            assert!(matches!(inside(&folder, bad), Err(ArtifactError::Escapes { .. })), "{bad:?}");
        }
        assert!(matches!(inside(&folder, "absent"), Err(ArtifactError::Missing { .. })));
    }
}
