//! What can't be served ends with words that name the field, or the flag, and the fix.

use crate::process::{SAMPLE, claim, err, examples, models, run};

/// A ModelDeployment with `spec`, and what stands before it in the file.
fn up(before: &str, spec: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("models.yaml");
    let model = format!(
        "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{name: m}}\nspec: {spec}\n"
    );
    std::fs::write(&file, format!("{before}{model}")).unwrap();
    let mut all = vec!["up", "--listen", "127.0.0.1:0", "-f", file.to_str().unwrap()];
    all.extend(arguments);
    let ended = run(&all);
    (ended.status.code(), err(&ended))
}

#[test]
fn each_bad_file_is_refused_in_words() {
    let sample = models().join(SAMPLE);
    let sample = sample.display();
    let wrong =
        format!("{{openWeights: {{source: 'file://{sample}', digest: 'sha256:{}'}}}}", "0".repeat(64));
    let both = format!("{{openWeights: {{source: 'file://{sample}'}}, external: {{provider: p, model: m}}}}");
    let long = format!("{{openWeights: {{source: 'file://{sample}', engine: {{contextLength: 9999999}}}}}}");
    let unknown = format!("{{openWeights: {{source: 'file://{sample}', quantization: q4}}}}");
    let profiled = format!("{{openWeights: {{source: 'file://{sample}', resources: {{profile: p}}}}}}");
    let profile = |spec: &str| {
        format!(
            "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ResourceProfile\nmetadata: {{name: p}}\nspec: {spec}\n---\n"
        )
    };
    let (gpu, amd, labels, huge, taken) = (
        profile("{cpu: '1', memory: 1Gi, gpu: {count: 1}}"),
        profile("{cpu: '1', memory: 1Gi, gpu: {resource: amd.com/gpu}}"),
        profile("{cpu: '1', memory: 1Gi, nodeSelector: {disk: fast}}"),
        profile("{cpu: '4096', memory: 1Gi}"),
        profile("{cpu: 9.000k, memory: 1Gi}"),
    );
    let kv = format!(
        "{{openWeights: {{source: 'file://{}', engine: {{kvCacheType: q8_0}}}}}}",
        examples().join("../tests/goldens/families/llama2").canonicalize().unwrap().display()
    );
    for (before, spec, words) in [
        ("", unknown.as_str(), vec!["quantization"]),
        ("", "{}", vec!["neither world is named", "openWeights", "external"]),
        ("", &both, vec!["serve: OpenWeights", "serve: External"]),
        (
            "",
            "{openWeights: {source: 'file:///nowhere/m.gguf'}}",
            vec!["no file at /nowhere/m.gguf: check the path, and that the file is there"],
        ),
        ("", "{openWeights: {source: 'ftp://host/m.gguf'}}", vec!["source", "hf://", "s3://"]),
        (
            "",
            "{openWeights: {source: 's3://bucket/m.gguf', storage: {credentialsSecret: {name: s}}}}",
            vec![
                "storage.credentialsSecret",
                "AWS_ACCESS_KEY_ID",
                "--secret s/AWS_ACCESS_KEY_ID=env:VARIABLE",
            ],
        ),
        (
            "",
            "{openWeights: {source: 'https://host/m.gguf', caCertificates: {name: ours, key: ca.crt}}}",
            vec!["openWeights.caCertificates", "ConfigMap \"ours\"", "not in the file: add it"],
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ours}\ndata: {ca.crt: none}\n---\n",
            "{openWeights: {source: 'https://host/m.gguf', caCertificates: {name: ours, key: ca.crt}}}",
            vec!["openWeights.caCertificates", "no certificate in PEM"],
        ),
        ("", &wrong, vec!["digest", "0000", "b179c952"]),
        ("", &long, vec!["openWeights.engine.contextLength: 9999999 is more than", "set 8192 or less"]),
        (
            "",
            "{openWeights: {source: 'file:///m.gguf', engine: {quantize: Q8_0}}}",
            vec!["openWeights.engine.quantize is Q8_0", "GGUF", "remove quantize"],
        ),
        ("", &kv, vec!["openWeights.engine.kvCacheType", "heads have 16", "use f16 or f32"]),
        (
            "",
            "{openWeights: {source: 'pvc://models/m.gguf'}}",
            vec!["openWeights.source", "--claim models=FOLDER"],
        ),
        (
            "",
            "{external: {provider: nobody, model: m}}",
            vec!["external.provider", "\"nobody\"", "add it to the file"],
        ),
        (
            "",
            "{replicas: 2, external: {provider: p, model: m}}",
            vec!["spec.replicas", "set replicas: 1, or 0"],
        ),
        ("", &profiled, vec!["openWeights.resources.profile", "add it to the file"]),
        (
            "",
            "{openWeights: {source: 'hf://o/r/f', hub: {endpoint: 'http://hub', tokenSecret: {name: s, key: k}}}}",
            vec!["spec.openWeights.hub", "in the clear", "https://"],
        ),
        (
            &gpu,
            &profiled,
            vec!["openWeights.resources.profile", "nvidia.com/gpu", "name a profile without gpu"],
        ),
        (&amd, &profiled, vec!["spec.gpu.resource", "write nvidia.com/gpu", "remove gpu"]),
        (&labels, &profiled, vec!["disk=fast", "nodeSelector"]),
        (&huge, &profiled, vec!["4096 CPUs", "this machine has"]),
        (&taken, &profiled, vec!["9000 CPUs"]),
        (&format!("{gpu}{gpu}"), &profiled, vec!["ResourceProfile p", "twice", "remove one"]),
    ] {
        let (code, said) = up(before, spec, &[]);
        assert_eq!(code, Some(1), "{spec}: {said}");
        for word in words {
            assert!(said.contains(word), "{spec}: {word:?} is not in: {said}");
        }
    }
}

#[test]
fn both_doors_read_a_file_equally_strictly() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("models.yaml");
    let model = "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {name: m}\n\
                 spec: {openWeights: {source: 'pvc://c/f'}}\n";
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringDat: {k: v}\n---\n";
    for (text, words) in [
        (model.replace("name: m", "name: m, labelz: {a: b}"), "metadata.labelz: unknown field"),
        (format!("{secret}{model}"), "stringDat: unknown field"),
        (format!("{model}---\n{model}"), "ModelDeployment default/m is in the file twice"),
    ] {
        std::fs::write(&file, text).unwrap();
        for verb in ["up", "plan"] {
            let ended = run(&[verb, "-f", file.to_str().unwrap()]);
            assert_eq!(ended.status.code(), Some(1), "{verb}");
            assert!(err(&ended).contains(words), "{verb}: {words:?} is not in: {}", err(&ended));
        }
    }
}

#[test]
fn a_file_that_is_no_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let mut bytes = std::fs::read(models().join(SAMPLE)).unwrap();
    bytes.truncate(1 << 20);
    for content in [&bytes[..], b"not a model", b""] {
        std::fs::write(&path, content).unwrap();
        let (code, said) = up("", &format!("{{openWeights: {{source: 'file://{}'}}}}", path.display()), &[]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("default/m can't be served") && said.contains("the model file"), "{said}");
    }
}

/// What `make run` says of `arguments` before it builds, and whether it goes on.
fn before_the_build(arguments: &[&str]) -> (bool, String) {
    let script = examples().join("../tests/check-listen.py");
    let ended = std::process::Command::new(script).args(arguments).output().unwrap();
    (ended.status.success(), err(&ended))
}

#[test]
fn what_up_refuses_after_a_build_make_run_refuses_before_it() {
    let file = examples().join("smollm2.yaml");
    let (file, claim) = (file.to_str().unwrap(), claim());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let remote = "lets other machines in, and nothing asks them who they are: listen on 127.0.0.1";
    let metrics = "lets other machines read the metrics, and nothing asks them who they are: listen on 127.0.0.1, or add";
    for (name, address, words) in [
        ("LISTEN", "", "write LISTEN=8081, or LISTEN=127.0.0.1:8081"),
        ("LISTEN", "x", "write LISTEN=8081"),
        ("LISTEN", "127.0.0.1", "write LISTEN=8081"),
        ("LISTEN", "::1:8081", "write LISTEN=8081"),
        ("LISTEN", "70000", "a port above 65535: write LISTEN=8081"),
        ("METRICS", "127.0.0.1:70000", "a port above 65535: write METRICS=9091"),
        ("LISTEN", &taken, "is in use"),
        ("LISTEN", "0.0.0.0:0", remote),
        ("LISTEN", "[::ffff:127.0.0.1]:0", remote),
        ("METRICS", "0.0.0.0:0", metrics),
    ] {
        let (passed, said) = before_the_build(&[&format!("{name}={address}")]);
        assert!(!passed && said.contains(&format!("{name}={address}")) && said.contains(words), "{said}");
        let (flag, other) = if name == "LISTEN" {
            ("--listen", vec![])
        } else {
            ("--metrics-listen", vec!["--listen", "127.0.0.1:0"])
        };
        let ended = run(&[&["up", "-f", file, "--claim", &claim, flag, address], &other[..]].concat());
        assert!(!ended.status.success(), "{flag} {address}");
        if words == remote || words == metrics {
            assert!(err(&ended).contains(words), "{flag} {address}: {}", err(&ended));
        }
    }
    for fine in [
        vec!["LISTEN=127.0.0.1:0", "METRICS="],
        vec!["LISTEN=localhost:0", "METRICS=0"],
        vec!["LISTEN=0.0.0.0:0", "METRICS=0.0.0.0:0", "--", "--drain-timeout", "5", "--allow-remote"],
    ] {
        assert_eq!(before_the_build(&fine), (true, String::new()), "{fine:?}");
    }
}

#[test]
fn flags_are_named_where_they_are_at_fault() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().to_string();
    let file = examples().join("smollm2.yaml");
    let file = file.to_str().unwrap();
    let claim = claim();
    let external = examples().join("external-openai-compatible.yaml");
    let external = external.to_str().unwrap();
    for (arguments, words) in [
        (vec!["up", "-f", "/nowhere/models.yaml"], vec!["/nowhere/models.yaml"]),
        (
            vec!["up", "-f", file, "--claim", &claim, "--listen", &port],
            vec!["port is in use", "--listen HOST:PORT"],
        ),
        (
            vec!["up", "-f", file, "--claim", &claim, "--listen", "0.0.0.0:0"],
            vec!["--allow-remote", "weighbridge key create"],
        ),
        (vec!["up", "-f", file, "--claim", "models"], vec!["NAME=FOLDER"]),
        (
            vec!["up", "-f", file, "--claim", "models=/nowhere"],
            vec!["--claim models=/nowhere: no such folder"],
        ),
        (vec!["up", "-f", external], vec!["apiKeys[0]", "--secret acme/api-key=env:VARIABLE"]),
        (
            vec!["up", "-f", external, "--default-namespace", "team", "--secret", "acme/api-key=env:HOME"],
            vec!["--secret default/acme/api-key=env:VARIABLE"],
        ),
        (
            vec!["up", "-f", external, "--secret", "acme/api-key=env:NOBODY_SET_THIS"],
            vec!["NOBODY_SET_THIS", "not set"],
        ),
        (vec!["up", "-f", external, "--secret", "acme/api-key=sk-1"], vec!["env:VARIABLE", "file:PATH"]),
    ] {
        // Whoever runs this may have the default port in use.
        let elsewhere = ["--listen", "127.0.0.1:0"];
        let rest = if arguments.contains(&"--listen") { &[][..] } else { &elsewhere[..] };
        let arguments = [&arguments[..], rest].concat();
        let ended = run(&arguments);
        let said = err(&ended);
        assert!(!ended.status.success(), "{arguments:?}");
        for word in words {
            assert!(said.contains(word), "{arguments:?}: {word:?} is not in: {said}");
        }
        assert!(!said.contains("sk-1"), "{said}");
    }
}
