use super::{Manifest, ManifestError, parse};
use crate::World;

const GOOD: &str = "
apiVersion: serving.weighbridge.dev/v1alpha1
kind: ModelDeployment
metadata: { name: chat }
spec:
  openWeights:
    source: pvc://models/chat.gguf
";

fn problems_of(text: &str) -> Vec<String> {
    match parse(text) {
        Err(ManifestError::Invalid { problems, .. }) => problems,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn model(spec: &str) -> String {
    format!(
        "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{ name: chat }}\nspec: {spec}\n"
    )
}

fn profile(spec: &str) -> String {
    format!(
        "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ResourceProfile\nmetadata: {{ name: p }}\nspec: {spec}\n"
    )
}

fn secret(fields: &str) -> String {
    format!("apiVersion: v1\nkind: Secret\nmetadata: {{ name: s }}\n{fields}\n")
}

fn provider(spec: &str) -> String {
    format!(
        "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ExternalProvider\nmetadata: {{ name: acme }}\nspec: {spec}\n"
    )
}

#[test]
fn reads_a_model_and_defaults_to_one_replica() {
    let parsed = parse(GOOD).unwrap();
    let [Manifest::ModelDeployment(model)] = parsed.as_slice() else { panic!("{parsed:?}") };
    assert_eq!(model.spec.replicas, 1);
    assert_eq!(model.spec.world(), Some(World::OpenWeights));
}

#[test]
fn reads_every_object_of_a_file_and_skips_what_only_a_cluster_knows() {
    let text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: models }}\n---\n{GOOD}---\n");
    let parsed = parse(&text).unwrap();
    assert!(matches!(&parsed[0], Manifest::Other { kind, .. } if kind == "Namespace"));
    assert!(matches!(&parsed[1], Manifest::ModelDeployment(_)));
}

/// Every refusal names the field and the fix.
#[test]
fn refuses_bad_specs_with_the_field_and_the_fix() {
    let long = "a".repeat(41);
    let cases: &[(String, &[&str])] = &[
        (model("{}"), &["neither world is named", "set openWeights"]),
        (
            model("{ openWeights: { source: 'pvc://m/f' }, external: { provider: p, model: m } }"),
            &["both openWeights and external are set", "add serve"],
        ),
        (model("{ serve: External, openWeights: { source: 'pvc://m/f' } }"), &["external is not set"]),
        (
            model("{ openWeights: { source: 'pvc://m/f', speed: fast } }"),
            &["spec.openWeights.speed", "unknown field", "source"],
        ),
        (
            model("{ openWeights: { source: 'pvc://m/f', engine: { kvCacheType: fp8 } } }"),
            &["spec.openWeights.engine.kvCacheType", "auto", "f32", "f16", "q8_0"],
        ),
        (
            model("{ openWeights: { source: 'pvc://m/f', engine: { quantize: Q5_K } } }"),
            &["spec.openWeights.engine.quantize", "Q8_0", "Q4_K"],
        ),
        (model("{ openWeights: { source: 's3://bucket/file' } }"), &["no known scheme", "hf://"]),
        (model("{ openWeights: { source: 'hf://org/repo' } }"), &["hf://org/repo/file.gguf"]),
        (model("{ openWeights: { source: 'pvc://claim/../other' } }"), &["'..'"]),
        (model("{ openWeights: { source: 'file://relative' } }"), &["absolute path"]),
        (model("{ openWeights: { source: 'pvc://m/f', revision: main } }"), &["revision belongs to hf"]),
        (
            model("{ openWeights: { source: 'pvc://m/f', digest: 'sha256:12' } }"),
            &["spec.openWeights.digest", "does not match"],
        ),
        (
            model("{ openWeights: { source: 'pvc://m/f', resources: { gpus: 1 } } }"),
            &["gpus needs a profile"],
        ),
        (
            model("{ replicas: -1, openWeights: { source: 'pvc://m/f' } }"),
            &["spec.replicas", "-1", "0 to 1000"],
        ),
        (model("{ replicas: two, openWeights: { source: 'pvc://m/f' } }"), &["spec.replicas", "integer"]),
        (
            model("{ openWeights: { source: 'pvc://m/f', engine: { contextLength: 3 } } }"),
            &["contextLength", "16"],
        ),
        (model("{ openWeights: {} }"), &["spec.openWeights.source", "required"]),
        (model("{ openWeights: { source: 'pvc://m/f' } }").replace("chat", &long), &["40 characters"]),
        (
            model("{ openWeights: { source: 'pvc://m/f' } }").replace("chat", "4chat"),
            &["begin with a letter"],
        ),
        (
            provider(
                "{ kind: OpenAICompatible, baseURL: 'http://host/v1', apiKeySecret: { name: s, key: k } }",
            ),
            &["in the clear", "https://"],
        ),
        (
            provider(
                "{ kind: OpenAICompatible, baseURL: 'https://u:p@host/', apiKeySecret: { name: s, key: k } }",
            ),
            &["baseURL must be"],
        ),
        (
            provider("{ kind: Telepathy, baseURL: 'https://host/', apiKeySecret: { name: s, key: k } }"),
            &["spec.kind", "OpenAICompatible"],
        ),
        (
            provider("{ kind: OpenAICompatible, baseURL: 'https://host/' }"),
            &["spec.apiKeySecret", "required"],
        ),
        (
            model("{ replicas: 2, external: { provider: p, model: m } }"),
            &["spec.replicas", "external alone has none", "replicas: 1"],
        ),
        (
            model(
                "{ openWeights: { source: 'hf://o/r/f', hub: { endpoint: 'http://hub', tokenSecret: { name: s, key: k } } } }",
            ),
            &["spec.openWeights.hub.endpoint", "in the clear", "https://"],
        ),
        (
            model(
                "{ openWeights: { source: 'hf://o/r/f', hub: { endpoint: 'http://localhost.example', tokenSecret: { name: s, key: k } } } }",
            ),
            &["in the clear"],
        ),
        (profile("{ cpu: many, memory: 1Gi }"), &["spec.cpu", "not a quantity above zero", "500m"]),
        (profile("{ cpu: '0', memory: 1Gi }"), &["spec.cpu", "not a quantity above zero"]),
        (profile("{ cpu: 0.5, memory: 1Gi }"), &["spec.cpu", "put it in quotes"]),
        (profile("{ cpu: 1, memory: '-1Gi' }"), &["spec.memory", "not a quantity above zero", "16Gi"]),
        (profile("{ cpu: 1, memory: 1gi }"), &["spec.memory", "not a quantity above zero"]),
        (profile("{ cpu: 1, memory: 1Gi, gpu: { count: 0 } }"), &["spec.gpu.count", "1 to 64"]),
        (
            GOOD.replace("name: chat", "name: chat, labelz: { a: b }"),
            &["metadata.labelz", "unknown field", "labels"],
        ),
        (
            GOOD.replace("name: chat", "name: chat, labels: { a: 1 }"),
            &["metadata.labels.a", "put it in quotes"],
        ),
        (format!("{GOOD}specs: {{}}\n"), &["specs: unknown field", "spec"]),
        (secret("stringDat: { k: v }"), &["stringDat: unknown field", "stringData"]),
        (secret("data: { k: 'not base64' }"), &["data.k", "stringData"]),
    ];
    for (text, wanted) in cases {
        let all = problems_of(text).join("; ");
        for words in *wanted {
            assert!(all.contains(words), "{text}\nsaid: {all}\nmissing: {words}");
        }
    }
}

#[test]
fn a_value_of_a_secret_is_in_no_refusal() {
    for fields in [
        "stringData: { k: 8150815 }",
        "data: { k: 8150815 }",
        "stringData: { k: [a8150815] }",
        "data: { k: 'x 8150815' }",
    ] {
        let all = problems_of(&secret(fields)).join("; ");
        assert!(!all.contains("8150815") && all.contains("ata.k"), "{all}");
    }
}

#[test]
fn takes_what_the_apiserver_takes() {
    let empty = "creationTimestamp: null, labels: null, ownerReferences: [{ apiVersion: v1, kind: Own, name: own, uid: u }]";
    let hub = "hub: { endpoint: 'http://127.0.0.1:8080/hub', tokenSecret: { name: s, key: k } }";
    for text in [
        GOOD.replace("name: chat", &format!("name: chat, {empty}")),
        secret("data: { k: dg== }\nstringData: { l: v }\ntype: Opaque\nimmutable: null"),
        profile("{ cpu: 4, memory: '1e9', gpu: {} }"),
        profile("{ cpu: 500m, memory: 1.5Gi }"),
        model("{ replicas: 0, external: { provider: p, model: m } }"),
        model(
            "{ replicas: 5, serve: External, external: { provider: p, model: m }, openWeights: { source: 'pvc://m/f' } }",
        ),
        model(&format!("{{ openWeights: {{ source: 'hf://o/r/f', {hub} }} }}")),
        model("{ openWeights: { source: 'hf://o/r/f', hub: { endpoint: 'http://mirror' } } }"),
    ] {
        assert!(parse(&text).is_ok(), "{text}: {:?}", parse(&text));
    }
}

#[test]
fn an_object_may_be_in_a_file_once() {
    let other = |text: &str| text.replace("metadata: {", "metadata: { namespace: other,");
    let own = |text: &str| text.replace("metadata: {", "metadata: { namespace: default,");
    let key =
        provider("{ kind: OpenAICompatible, baseURL: 'https://h/', apiKeySecret: { name: s, key: k } }");
    for (text, name) in [
        (GOOD, "ModelDeployment default/chat"),
        (&key, "ExternalProvider default/acme"),
        (&secret("stringData: {}"), "Secret default/s"),
        (&profile("{ cpu: 1, memory: 1Gi }"), "ResourceProfile p"),
    ] {
        let error = parse(&format!("{text}\n---\n{}", own(text))).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("twice: remove one"), "{error}");
        let elsewhere = parse(&format!("{text}\n---\n{}", other(text)));
        assert_eq!(elsewhere.is_err(), name.starts_with("ResourceProfile"), "{elsewhere:?}");
    }
    // One name, four kinds; and what is skipped is a cluster's business.
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: acme }\n";
    assert!(parse(&format!("{map}---\n{map}---\n{key}")).is_ok());
}

#[test]
fn refuses_files_that_hold_no_object_of_ours() {
    assert!(matches!(parse(""), Err(ManifestError::Empty)));
    assert!(matches!(parse("a: [1"), Err(ManifestError::Yaml(_))));
    assert!(matches!(
        parse("kind: ModelDeployment"),
        Err(ManifestError::Untyped { field: "apiVersion", .. })
    ));
    assert!(matches!(
        parse(&GOOD.replace("ModelDeployment", "ModelDeployments")),
        Err(ManifestError::UnknownKind { .. })
    ));
}
