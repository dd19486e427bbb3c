//! Which blob of an artefact is the file. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Forms of manifests that are read.
pub(in super::super::super) const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// Where writers of artefacts say what a layer's file is called: ORAS and Docker, and CNCF's ModelPack.
const NAMES: [&str; 2] = ["org.opencontainers.image.title", "org.cncf.model.filepath"];

/// A blob by its manifest's words.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in super::super::super) struct Chosen {
    #[serde(default)]
    media_type: String,
    /// `sha256:…`.
    pub digest: String,
    /// Length in bytes.
    pub size: u64,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Chosen {
    fn name(&self) -> Option<&str> {
        let annotations = self.annotations.as_ref()?;
        NAMES.iter().find_map(|name| annotations.get(*name)).map(String::as_str)
    }

    fn is_archive(&self) -> bool {
        self.media_type.contains("tar")
    }

    fn is_model(&self) -> bool {
        self.media_type.contains("gguf") || self.name().is_some_and(|name| name.ends_with(".gguf"))
    }
}

/// What a manifest comes to.
#[derive(Debug)]
pub(in super::super::super) enum Wanted {
    /// The file.
    Layer(Chosen),
    /// Another manifest, by its digest: the one that an index lists.
    Manifest(String),
}

/// The file of `manifest` that is called `file`, or the only one.
///
/// # Errors
/// Why there is none, in words.
pub(in super::super::super) fn chosen(manifest: &[u8], file: Option<&str>) -> Result<Wanted, String> {
    #[derive(Deserialize)]
    struct Manifest {
        #[serde(default)]
        layers: Vec<Chosen>,
        #[serde(default)]
        manifests: Vec<Chosen>,
    }
    let Manifest { layers, manifests } =
        serde_json::from_slice(manifest).map_err(|error| format!("the manifest can't be read: {error}"))?;
    match manifests.as_slice() {
        [] => {}
        [only] => return Ok(Wanted::Manifest(only.digest.clone())),
        several => {
            return Err(format!(
                "the reference names an index of {}: write the digest of the one that is meant, \
                 oci://registry/repository@sha256:DIGEST",
                several.len()
            ));
        }
    }
    let names = || {
        let names: Vec<_> = layers.iter().filter_map(Chosen::name).map(|name| format!("{name:?}")).collect();
        if names.is_empty() {
            "names none of its files".to_owned()
        } else {
            format!("has {}", names.join(", "))
        }
    };
    if !layers.is_empty() && layers.iter().all(|layer| layer.is_archive() && !layer.is_model()) {
        return Err("the reference names an image, whose layers are archives, and none is a file: write the file into the registry \
                    as it is, as `oras push` does, or set storage.imageVolume where the cluster serves image volumes"
            .to_owned());
    }
    let found: Vec<&Chosen> = match file {
        Some(file) => layers.iter().filter(|layer| layer.name() == Some(file)).collect(),
        None => {
            let models: Vec<_> = layers.iter().filter(|layer| layer.is_model()).collect();
            if models.is_empty() { layers.iter().collect() } else { models }
        }
    };
    match (found.as_slice(), file) {
        ([only], _) => Ok(Wanted::Layer((*only).clone())),
        ([], Some(file)) => {
            Err(format!("the artefact has no file {file:?}, it {}: name one of these", names()))
        }
        ([], None) => Err("the artefact has no files".to_owned()),
        (_, Some(file)) => Err(format!("the artefact has several files {file:?}")),
        (_, None) => Err(format!(
            "the artefact {}: name the one that is meant after the tag, oci://registry/repository:tag/FILE",
            names()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(name: &str, kind: &str, digest: u8) -> String {
        format!(
            r#"{{"mediaType":"{kind}","digest":"sha256:{}","size":7,"annotations":{{"org.opencontainers.image.title":"{name}"}}}}"#,
            format!("{digest:02x}").repeat(32)
        )
    }

    fn of(layers: &[String], file: Option<&str>) -> Result<u8, String> {
        let manifest = format!(r#"{{"schemaVersion":2,"config":{{}},"layers":[{}]}}"#, layers.join(","));
        match chosen(manifest.as_bytes(), file)? {
            Wanted::Layer(layer) => Ok(u8::from_str_radix(&layer.digest[7..9], 16).unwrap()),
            Wanted::Manifest(other) => Err(other),
        }
    }

    #[test]
    fn a_file_goes_by_its_name_or_by_being_the_only_one() {
        let octets = "application/octet-stream";
        let files = [layer("README.md", octets, 1), layer("m.gguf", octets, 2), layer("x/n.bin", octets, 3)];
        assert_eq!(of(&files, Some("x/n.bin")), Ok(3));
        assert_eq!(of(&files, None), Ok(2), "the only model");
        assert_eq!(of(&files[..1], None), Ok(1));
        assert!(of(&files, Some("o.gguf")).unwrap_err().contains("\"m.gguf\""));
        let two = [layer("a.gguf", octets, 1), layer("b.gguf", octets, 2)];
        assert!(of(&two, None).unwrap_err().contains("name the one that is meant"));
        let docker =
            r#"{"mediaType":"application/vnd.docker.ai.gguf.v3","digest":"sha256:04","size":1}"#.to_owned();
        let license =
            r#"{"mediaType":"application/vnd.docker.ai.license","digest":"sha256:05","size":1}"#.to_owned();
        assert_eq!(of(&[license, docker], None), Ok(4));
    }

    #[test]
    fn images_and_indexes_of_several_are_refused_in_words() {
        let image = [layer("", "application/vnd.oci.image.layer.v1.tar+gzip", 1)];
        assert!(of(&image, None).unwrap_err().contains("oras push"));
        let index = |count: usize| {
            let listed = vec![r#"{"digest":"sha256:aa","size":1}"#; count].join(",");
            chosen(format!(r#"{{"manifests":[{listed}]}}"#).as_bytes(), None)
        };
        assert!(matches!(index(1), Ok(Wanted::Manifest(digest)) if digest == "sha256:aa"));
        assert!(index(2).unwrap_err().contains("write the digest"));
        for bad in ["", "[]", r#"{"layers":[{"digest":1}]}"#, r#"{"layers":[]}"#] {
            assert!(chosen(bad.as_bytes(), None).is_err(), "{bad}");
        }
    }
}
