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
        (
            "gpu-claim.yaml",
            vec![
                "kind: ResourceClaimTemplate",
                "deviceClassName: gpu.nvidia.com",
                "resourceClaimTemplateName: mistral-7b-gpu-",
                "--device=cuda",
            ],
        ),
        (
            "cache.yaml",
            vec![
                "kind: PersistentVolumeClaim",
                "kind: Job",
                "--source=hf://HuggingFaceTB",
                "--store=/store/weighbridge/weights",
                "claimName: weights-cache",
            ],
        ),
        ("gpu-auto.yaml", vec!["no engine pods yet", "kind: Pod", "--output=/dev/termination-log"]),
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

/// The sample, beside a CPU and on a GPU, by its header on the folder that stands in for its claim.
#[test]
fn what_weights_at_hand_need_is_held_against_the_hardware() {
    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("m.gguf");
    let made = run(&[
        "synth",
        "-o",
        weights.to_str().unwrap(),
        "--kv-heads=4",
        "--heads=8",
        "--head=16",
        "--embedding=64",
        "--feed-forward=128",
        "--matrices=q8_0",
        "--embeddings=q8_0",
    ]);
    assert!(made.status.success(), "{}", err(&made));
    // What is behind the header is not looked at.
    let length = std::fs::metadata(&weights).unwrap().len();
    let file = std::fs::OpenOptions::new().write(true).open(&weights).unwrap();
    file.set_len(length - 4096).and_then(|()| file.set_len(length)).unwrap();
    let claim = format!("--claim=models={}", folder.path().display());
    let plan = |memory: &str, gpu: &str, gpus: &str| {
        let text = format!(
            "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ResourceProfile\nmetadata: {{name: p}}\n\
             spec: {{cpu: 1, memory: {memory}{gpu}}}\n---\n\
             apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{name: m}}\n\
             spec: {{openWeights: {{source: 'pvc://models/m.gguf', resources: {{profile: p{gpus}}}}}}}\n"
        );
        let file = folder.path().join("model.yaml");
        std::fs::write(&file, text).unwrap();
        run(&["plan", "-f", file.to_str().unwrap(), &claim])
    };
    let cpu = plan("1Gi", "", "");
    assert!(out(&cpu).contains("the memory of the profile holds the model: it needs "), "{}", err(&cpu));
    let refused = plan("64Mi", "", "");
    assert!(!refused.status.success());
    assert!(
        err(&refused).contains("ResourceProfile \"p\" does not hold the model: it needs "),
        "{}",
        err(&refused)
    );
    assert!(err(&refused).contains("; the memory is 64.0 MiB"), "{}", err(&refused));
    let card = plan("1Gi", ", gpu: {memory: 24Gi}", ", gpus: auto");
    assert!(
        out(&card).contains("one GPU holds the model: it needs ") && out(&card).contains("of 24.0 GiB"),
        "{}",
        err(&card)
    );
    let refused = plan("1Gi", ", gpu: {memory: 512Mi, count: 2}", "");
    assert!(err(&refused).contains("does not hold the model: it needs"), "{}", err(&refused));
    let refused = plan("1Gi", ", gpu: {memory: 24Gi}", ", gpus: 3");
    assert!(err(&refused).contains("can't be shared out to 3 GPUs"), "{}", err(&refused));
    std::fs::remove_file(&weights).unwrap();
    let missing = plan("1Gi", "", "");
    assert!(
        err(&missing).contains("the header of the weights can't be read: source: no file at"),
        "{}",
        err(&missing)
    );
}
