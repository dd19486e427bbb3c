//! A signature's file, as OpenSSF Model Signing 1.0 writes it: a sigstore bundle around a DSSE envelope around an in-toto statement
//! that lists files with their digests. Pure.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::super::Digest;
use super::{PublicKey, SignatureError};

const PAYLOAD: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://model_signing/signature/v1.0";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    dsse_envelope: Envelope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    #[serde(rename = "predicateType")]
    predicate_kind: String,
    predicate: Predicate,
}

#[derive(Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Serialization {
    method: String,
    #[serde(default)]
    ignore_paths: Vec<String>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: String,
}

/// Files that somebody vouches for.
#[derive(Debug)]
pub(super) struct Signed {
    /// Each by its path from the model's root; a model of one file goes by `.`.
    pub files: BTreeMap<String, Digest>,
    /// Paths that were left out on purpose.
    pub ignored: Vec<String>,
}

/// What the owner of `key` says in `bundle`.
pub(super) fn opened(bundle: &[u8], key: &PublicKey) -> Result<Signed, SignatureError> {
    let other = |words: String| SignatureError::Form(words);
    let Bundle { dsse_envelope: Envelope { payload, payload_type, signatures } } =
        serde_json::from_slice(bundle).map_err(|error| other(error.to_string()))?;
    let decoded = |text: &str| STANDARD.decode(text).map_err(|error| other(error.to_string()));
    let payload = decoded(&payload)?;
    // What is signed names its type, so that no other kind of text passes for a statement.
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    let message = [head.as_bytes(), &payload].concat();
    let mut is_signed = false;
    for Signature { sig } in &signatures {
        is_signed |= key.signed(&message, &decoded(sig)?);
    }
    if !is_signed {
        return Err(SignatureError::Key);
    }
    if payload_type != PAYLOAD {
        return Err(other(format!("its payload is {payload_type:?}, not {PAYLOAD:?}")));
    }
    let Statement { kind, predicate_kind, predicate } =
        serde_json::from_slice(&payload).map_err(|error| other(error.to_string()))?;
    if kind != STATEMENT || predicate_kind != PREDICATE {
        return Err(other(format!(
            "it states {predicate_kind:?}, not {PREDICATE:?}: sign with model-signing 1.0 or later"
        )));
    }
    let Predicate { serialization: Serialization { method, ignore_paths: ignored }, resources } = predicate;
    if method != "files" {
        return Err(other(format!("it lists {method}, not files: sign without --use_shards")));
    }
    let file = |Resource { name, algorithm, digest }: Resource| {
        let digest = digest.parse().ok().filter(|_| algorithm == "sha256");
        let digest = digest
            .ok_or_else(|| other(format!("{name:?} has no sha256, but {algorithm}: sign with sha256")))?;
        Ok((name, digest))
    };
    let files = resources.into_iter().map(file).collect::<Result<_, SignatureError>>()?;
    Ok(Signed { files, ignored })
}
