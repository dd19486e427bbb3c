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
    ];
    for (text, wanted) in cases {
        let all = problems_of(text).join("; ");
        for words in *wanted {
            assert!(all.contains(words), "{text}\nsaid: {all}\nmissing: {words}");
        }
    }
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
