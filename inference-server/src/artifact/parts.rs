//! Models that are split over several files: which they are, and all of them at once.

use weighbridge_crds::source::Source;

use super::cache::Cache;
use super::remote::Fetch;
use super::{
    Artifact, ArtifactError, ArtifactRequest, CheckedAgainst, Digest, Enough, ProgressSink, Resolver, origin,
    silent,
};
use crate::gguf::PartName;

/// The parts that `name` stands for; `None` for a whole file. As with a folder, nothing is pinned: a digest names one
/// file.
pub(super) fn of(name: &str, pinned: Option<&Digest>) -> Result<Option<PartName>, ArtifactError> {
    let Some(part) = PartName::parse(name).filter(|part| part.count > 1) else { return Ok(None) };
    if part.number > 1 {
        return Err(ArtifactError::LaterPart { name: name.to_owned(), first: part.of(1) });
    }
    if pinned.is_some() {
        return Err(ArtifactError::PartsDigest { name: name.to_owned(), count: part.count });
    }
    Ok(Some(part))
}

/// Every part of `name` from its server, each checked against the server's own digest; of a hub all of the commit of the first, of a
/// registry of its manifest.
pub(super) async fn fetch(
    resolver: &Resolver,
    cache: &Cache,
    request: &ArtifactRequest,
    name: &PartName,
    progress: &ProgressSink,
) -> Result<Artifact, ArtifactError> {
    each(resolver, cache, request, name, progress, async |part| part.run().await).await
}

/// The same, of which each part has no more than a beginning that is `enough`.
pub(super) async fn beginnings(
    resolver: &Resolver,
    cache: &Cache,
    request: &ArtifactRequest,
    name: &PartName,
    enough: &Enough,
) -> Result<Artifact, ArtifactError> {
    let of = async |part: Fetch<'_>| part.beginning(enough).await;
    each(resolver, cache, request, name, &silent(), of).await
}

async fn each(
    resolver: &Resolver,
    cache: &Cache,
    request: &ArtifactRequest,
    name: &PartName,
    progress: &ProgressSink,
    fetched: impl AsyncFn(Fetch<'_>) -> Result<Artifact, ArtifactError>,
) -> Result<Artifact, ArtifactError> {
    let mut request = request.clone();
    let mut found = Vec::new();
    for file in name.all() {
        request.source = request.source.with_file(&file);
        let part = fetched(Fetch::new(resolver, cache, &request, progress.clone())?).await?;
        if let Some(commit) = part.commit.as_ref().filter(|commit| origin::is_commit(commit)) {
            request.revision = Some(commit.clone());
        }
        // All of the manifest that the tag meant first.
        if let (Source::Registry { reference, .. }, Some(manifest)) = (&mut request.source, &part.commit) {
            reference.clone_from(manifest);
        }
        found.push(part);
    }
    joined(found).ok_or_else(|| ArtifactError::Missing { path: name.of(1).into() })
}

/// One artifact of the parts in `found`, vouched for by whoever vouches for the least of them.
pub(super) fn joined(found: Vec<Artifact>) -> Option<Artifact> {
    let mut parts = found.into_iter();
    let mut whole = parts.next()?;
    whole.digest = None;
    for part in parts {
        let Artifact { path, further: _, bytes, digest: _, checked_against, commit: _, fetched_bytes } = part;
        whole.further.push(path);
        whole.bytes = whole.bytes.saturating_add(bytes);
        whole.fetched_bytes = whole.fetched_bytes.saturating_add(fetched_bytes);
        if checked_against == CheckedAgainst::Nothing {
            whole.checked_against = CheckedAgainst::Nothing;
        }
    }
    Some(whole)
}
