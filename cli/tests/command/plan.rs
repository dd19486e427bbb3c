//! `plan` over the examples.

use crate::process::{err, examples, out, run};

#[test]
fn each_example_is_planned_with_reasons_as_yaml() {
    for (file, parts) in [
        (
            "smollm2.yaml",
            vec!["kind: Deployment", "kind: Service", "--digest=sha256:b179", "claimName: models"],
        ),
        (
            "embeddings.yaml",
            vec!["kind: Deployment", "--source=file:///models/all-minilm-l6-v2", "claimName: models"],
        ),
        ("reranker.yaml", vec!["kind: Deployment", "--source=file:///models/reranker", "claimName: models"]),
        (
            "adapters.yaml",
            vec!["--adapter=tone=file:///adapters/adapters/tone", "claimName: adapters", "--adapter=legal="],
        ),
        (
            "external-openai-compatible.yaml",
            vec!["kind: NetworkPolicy", "name: acme-proxy", "api.openai.com"],
        ),
        (
            "gpu.yaml",
            vec!["nvidia.com/gpu", "NVIDIA-H100-80GB-HBM3", "effect: NoSchedule", "no GPU backend yet"],
        ),
    ] {
        let planned = run(&["plan", "-f", examples().join(file).to_str().unwrap()]);
        assert!(planned.status.success(), "{}", err(&planned));
        let text = out(&planned);
        for part in parts {
            assert!(text.contains(part), "{file} lacks {part}: {text}");
        }
        assert!(text.starts_with("# "), "{text}");
        let objects: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).unwrap();
        let kinds: Vec<_> =
            objects.iter().filter(|object| !object.is_null()).map(|object| &object["kind"]).collect();
        assert!(!kinds.is_empty() && kinds.iter().all(|kind| kind.is_string()), "{kinds:?}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let plan = examples().join("gpu.yaml");
    let script = format!("{} plan -f {} | head -1", env!("CARGO_BIN_EXE_weighbridge"), plan.display());
    let piped = std::process::Command::new("bash").args(["-o", "pipefail", "-c", &script]).output().unwrap();
    assert!(piped.status.success(), "{}", err(&piped));
    assert!(err(&piped).is_empty(), "{}", err(&piped));
}

#[test]
fn a_file_may_come_on_stdin() {
    let file = std::fs::File::open(examples().join("smollm2.yaml")).unwrap();
    let planned = crate::process::weighbridge().args(["plan", "-f", "-"]).stdin(file).output().unwrap();
    assert!(out(&planned).contains("kind: Deployment"), "{}", err(&planned));
}
