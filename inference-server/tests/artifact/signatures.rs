//! Models that have to be signed: by the signer's own files (`signed/`), and by statements that nobody should make.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, SigningKey as _};
use serde_json::{Value, json};
use weighbridge_crds::condition::Reason;
use weighbridge_inference_server::artifact::{
    Artifact, ArtifactError, ArtifactRequest, PublicKey, Signature,
};

use crate::hub::{Hub, HubFile, Reply};
use crate::world::World;

const WEIGHTS: &str = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/artifact/signed")
}

/// A copy of the signed folder that may be changed.
fn copied() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (golden().join("model"), folder.path().join("model"));
    std::fs::create_dir_all(to.join("1_Pooling")).unwrap();
    for name in ["config.json", "weights.bin", "model.sig", "1_Pooling/config.json"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    std::fs::copy(golden().join("weights.sig"), to.join("weights.sig")).unwrap();
    folder
}

fn request(world: &World, path: &Path, bundle: &str, pem: &str) -> ArtifactRequest {
    let source = format!("file://{}", path.display()).parse().unwrap();
    let mut request = ArtifactRequest::new(source, world.cache.path().to_owned());
    request.signature = Some(Signature { bundle: bundle.to_owned(), key: PublicKey::from_pem(pem).unwrap() });
    request
}

fn pem() -> String {
    std::fs::read_to_string(golden().join("public.pem")).unwrap()
}

fn refused(found: Result<Artifact, ArtifactError>, words: &str) {
    let error = found.unwrap_err();
    assert_eq!((error.reason(), error.field()), (Reason::SignatureInvalid, Some("signature")), "{error}");
    let said = error.in_words();
    assert!(said.starts_with("signature: of ") && said.contains(words), "{words:?} is not in {said}");
}

#[tokio::test]
async fn what_the_signer_of_openssf_signed_holds_and_any_change_of_it_does_not() {
    let world = World::new();
    let folder = copied();
    let model = folder.path().join("model");
    // Another signature beside it was signed by nobody.
    std::fs::remove_file(model.join("weights.sig")).unwrap();
    let folder_of = || request(&world, &model, "model.sig", &pem());
    world.resolve(folder_of()).await.unwrap();

    std::fs::write(model.join("config.json"), r#"{"a": 2}"#).unwrap();
    refused(world.resolve(folder_of()).await, "\"config.json\" has sha256:");
    std::fs::remove_file(model.join("config.json")).unwrap();
    std::fs::write(model.join("config.json"), r#"{"a": 1}"#).unwrap();
    std::fs::write(model.join("tokenizer.json"), "{}").unwrap();
    refused(world.resolve(folder_of()).await, "says nothing of \"tokenizer.json\"");
    std::fs::remove_file(model.join("tokenizer.json")).unwrap();
    std::fs::remove_file(model.join("1_Pooling/config.json")).unwrap();
    refused(world.resolve(folder_of()).await, "\"1_Pooling/config.json\" is signed and not there");
    std::fs::remove_file(model.join("model.sig")).unwrap();
    refused(world.resolve(folder_of()).await, "model.sig can't be had");
}

#[tokio::test]
async fn a_file_is_signed_alone_or_with_its_folder() {
    let world = World::new();
    let folder = copied();
    let file = folder.path().join("model/weights.bin");
    for bundle in ["model.sig", "weights.sig"] {
        world.resolve(request(&world, &file, bundle, &pem())).await.unwrap();
    }
    std::fs::write(&file, "weightz").unwrap();
    for bundle in ["model.sig", "weights.sig"] {
        refused(world.resolve(request(&world, &file, bundle, &pem())).await, "\"weights.bin\" has sha256:");
    }
}

#[tokio::test]
async fn a_signature_is_fetched_from_where_the_weights_are_before_anything_is_served() {
    let bundle = std::fs::read(golden().join("model/model.sig")).unwrap();
    for (body, holds) in [(bundle.clone(), true), (b"{}".to_vec(), false)] {
        let world = World::new();
        let of_model = HubFile::large(b"weights");
        let of_bundle = HubFile { large: false, ..HubFile::large(&body) };
        let hub =
            Hub::with(of_model, move |asked, _, reply| match asked.path.ends_with("/folder/model.sig") {
                true => of_bundle.reply_to(asked),
                false => reply,
            });
        let mut asking = world.request(&hub);
        asking.source = "hf://org/repo/folder/weights.bin".parse().unwrap();
        asking.signature =
            Some(Signature { bundle: "model.sig".to_owned(), key: PublicKey::from_pem(&pem()).unwrap() });
        let found = world.resolve(asking).await;
        if holds {
            assert_eq!(found.unwrap().digest.unwrap().hex(), WEIGHTS);
        } else {
            refused(found, "no OpenSSF Model Signing bundle");
        }
    }
    let world = World::new();
    let hub = Hub::with(HubFile::large(b"weights"), |asked, _, reply| match asked.path.ends_with(".sig") {
        true => Reply::status(404),
        false => reply,
    });
    let mut asking = world.request(&hub);
    asking.signature =
        Some(Signature { bundle: "model.sig".to_owned(), key: PublicKey::from_pem(&pem()).unwrap() });
    refused(world.resolve(asking).await, "the hub has no such repository or file (404)");
}

/// A bundle around `statement`, signed by `key` as of `kind`.
fn signed(key: &KeyPair, kind: &str, statement: &Value) -> String {
    let payload = statement.to_string();
    let message = format!("DSSEv1 {} {kind} {} {payload}", kind.len(), payload.len());
    let sig = STANDARD.encode(key.sign(message.as_bytes()).unwrap());
    let envelope =
        json!({"payload": STANDARD.encode(&payload), "payloadType": kind, "signatures": [{"sig": sig}]});
    json!({"verificationMaterial": {"publicKey": {"hint": ""}}, "dsseEnvelope": envelope}).to_string()
}

fn statement(resources: Value) -> Value {
    json!({"_type": "https://in-toto.io/Statement/v1", "subject": [],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {"serialization": {"method": "files"}, "resources": resources}})
}

#[tokio::test]
async fn only_the_key_that_is_named_and_only_a_statement_of_files_count() {
    const KIND: &str = "application/vnd.in-toto+json";
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weights.bin");
    std::fs::write(&file, "weights").unwrap();
    let whole = || json!([{"name": "weights.bin", "algorithm": "sha256", "digest": WEIGHTS}]);
    for kind in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let key = KeyPair::generate_for(kind).unwrap();
        let tried = async |bundle: String| {
            std::fs::write(folder.path().join("m.sig"), bundle).unwrap();
            world.resolve(request(&world, &file, "m.sig", &key.public_key_pem())).await
        };
        let good = signed(&key, KIND, &statement(whole()));
        tried(good.clone()).await.unwrap();

        let other = KeyPair::generate_for(kind).unwrap();
        refused(tried(signed(&other, KIND, &statement(whole()))).await, "not signed by the owner");
        let mut changed: Value = serde_json::from_str(&good).unwrap();
        let forged =
            statement(json!([{"name": "weights.bin", "algorithm": "sha256", "digest": "0".repeat(64)}]));
        changed["dsseEnvelope"]["payload"] = STANDARD.encode(forged.to_string()).into();
        refused(tried(changed.to_string()).await, "not signed by the owner");
        let mut unsigned: Value = serde_json::from_str(&good).unwrap();
        unsigned["dsseEnvelope"]["signatures"] = json!([]);
        refused(tried(unsigned.to_string()).await, "not signed by the owner");
        // Signed, and no statement: another kind of text, or of another version.
        refused(
            tried(signed(&key, "text/plain", &statement(whole()))).await,
            "its payload is \"text/plain\"",
        );
        let mut old = statement(whole());
        old["predicateType"] = "https://model_signing/Digests/v0.1".into();
        refused(tried(signed(&key, KIND, &old)).await, "model-signing 1.0 or later");
        let mut shards = statement(whole());
        shards["predicate"]["serialization"]["method"] = "shards".into();
        refused(tried(signed(&key, KIND, &shards)).await, "not files");
        let blake = json!([{"name": "weights.bin", "algorithm": "blake2b", "digest": WEIGHTS}]);
        refused(tried(signed(&key, KIND, &statement(blake))).await, "sign with sha256");
        let elsewhere = json!([{"name": "other.bin", "algorithm": "sha256", "digest": WEIGHTS}]);
        refused(tried(signed(&key, KIND, &statement(elsewhere))).await, "says nothing of \"weights.bin\"");
    }
    for bad in ["", "{}", "[1", r#"{"dsseEnvelope":{"payload":"?","payloadType":"x","signatures":[]}}"#] {
        std::fs::write(folder.path().join("m.sig"), bad).unwrap();
        refused(
            world.resolve(request(&world, &file, "m.sig", &pem())).await,
            "no OpenSSF Model Signing bundle",
        );
    }
}

#[tokio::test]
async fn every_part_of_a_split_model_is_signed() {
    let world = World::new();
    let key = KeyPair::generate().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
    for name in names {
        std::fs::write(folder.path().join(name), "weights").unwrap();
    }
    let of = |names: &[&str]| {
        let resources: Vec<_> = names
            .iter()
            .map(|name| json!({"name": name, "algorithm": "sha256", "digest": WEIGHTS}))
            .collect();
        signed(&key, "application/vnd.in-toto+json", &statement(resources.into()))
    };
    let tried = async |bundle: String| {
        std::fs::write(folder.path().join("m.sig"), bundle).unwrap();
        let first = folder.path().join(names[0]);
        world.resolve(request(&world, &first, "m.sig", &key.public_key_pem())).await
    };
    tried(of(&names)).await.unwrap();
    refused(tried(of(&names[..1])).await, "says nothing of \"m-00002-of-00002.gguf\"");
}
