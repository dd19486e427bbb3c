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
            "external-vertex.yaml",
            vec!["--kind=Vertex", "--vertex-project=my-project-123456", "--vertex-location=europe-west4"],
        ),
        ("external-bedrock.yaml", vec!["--kind=Bedrock", "--bedrock-region=us-east-1"]),
        ("access.yaml", vec!["ModelAccess default/notebook", "notebook may call smollm2", "no objects"]),
        ("gpu.yaml", vec!["nvidia.com/gpu", "NVIDIA-H100-80GB-HBM3", "effect: NoSchedule", "--device=cuda"]),
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
        assert!(!kinds.is_empty() || text.contains("no objects"), "{text}");
        assert!(kinds.iter().all(|kind| kind.is_string()), "{kinds:?}");
    }
}

/// All of them, for an example that is added too; those of Kubernetes' own kinds aside.
#[test]
fn every_example_is_a_valid_manifest() {
    let folders = [examples(), examples().join("families")];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let mut planned = 0;
    for file in files.map(|entry| entry.unwrap().path()) {
        let is_yaml = file.extension().is_some_and(|ending| ending == "yaml");
        if !is_yaml || !std::fs::read_to_string(&file).unwrap().contains("serving.weighbridge.dev") {
            continue;
        }
        let plan = run(&["plan", "-f", file.to_str().unwrap()]);
        assert!(plan.status.success(), "{}", err(&plan));
        planned += 1;
    }
    assert!(planned >= 15, "{planned}");
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
