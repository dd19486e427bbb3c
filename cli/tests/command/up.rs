//! `up` with real weights: both names, streams, models that sleep, and how it ends.

use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};

use crate::hub::Hub;
use crate::process::{SAMPLE, SAMPLE_DIGEST, Up, call, claim, err, examples, models, run};

fn question(model: &str, tokens: u32, stream: bool) -> String {
    format!(
        r#"{{"model":"{model}","stream":{stream},"max_tokens":{tokens},"temperature":0,
            "messages":[{{"role":"user","content":"Write a long story about a lighthouse."}}]}}"#
    )
}

#[test]
fn the_example_answers_by_both_of_its_names_and_says_how_to_ask() {
    let up = Up::start(&examples().join("smollm2.yaml"), &["--claim", &claim()], &[]);
    let pasted = up.banner.split("-d '").nth(1).unwrap().split('\'').next().unwrap();
    let mut reply = up.post("/v1/chat/completions", pasted);
    assert_eq!((reply.status, reply.line().is_empty()), (200, false), "{pasted}");
    drop(reply);
    for line in [
        format!("curl -N http://{}/v1/chat/completions", up.door),
        format!("weighbridge chat smollm2 --url http://{}", up.door),
    ] {
        assert!(up.banner.contains(&line), "{}", up.banner);
    }
    for name in ["smollm2", "default/smollm2"] {
        let reply = up.post("/v1/chat/completions", &question(name, 4, false));
        assert_eq!(reply.status, 200);
        let answer: serde_json::Value = serde_json::from_str(&reply.text()).unwrap();
        assert_eq!(answer["model"], name);
        assert_eq!(answer["usage"]["completion_tokens"], 4);
        assert!(!answer["choices"][0]["message"]["content"].as_str().unwrap().is_empty());
    }
    assert!(up.get("/v1/models").text().contains("default/smollm2"));
    let unknown = up.post("/v1/chat/completions", &question("other", 4, false));
    assert_eq!(unknown.status, 404);
    assert!(unknown.text().contains("model_not_found"));
}

#[test]
fn the_largest_body_is_what_a_flag_says() {
    let flags = ["--claim", &claim(), "--max-body-bytes", "400"];
    let up = Up::start(&examples().join("smollm2.yaml"), &flags, &[]);
    let asked = |spaces: usize| {
        let question = question("smollm2", 1, false).replacen('{', &format!("{{{}", " ".repeat(spaces)), 1);
        up.post("/v1/chat/completions", &question)
    };
    assert_eq!(asked(0).status, 200);
    let refused = asked(400);
    assert_eq!(refused.status, 413);
    assert!(refused.text().contains("larger than the limit of 400 bytes"));
}

#[test]
fn a_model_without_a_chat_template_is_offered_for_completions_alone() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    let made = run(&["synth", "--matrices", "f32", "--output", model.to_str().unwrap()]);
    assert!(made.status.success(), "{}", err(&made));
    let settings = model.join("tokenizer_config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&settings).unwrap()).unwrap();
    config.as_object_mut().unwrap().remove("chat_template").unwrap();
    std::fs::write(&settings, config.to_string()).unwrap();
    let file = folder.path().join("model.yaml");
    let object = format!(
        "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{ name: plain }}\n\
         spec: {{ openWeights: {{ source: 'file://{}' }} }}\n",
        model.display()
    );
    std::fs::write(&file, object).unwrap();

    let up = Up::start(&file, &[], &[]);
    assert!(!up.banner.contains("/v1/chat") && !up.banner.contains("weighbridge chat"), "{}", up.banner);
    let pasted = up.banner.split("-d '").nth(1).unwrap().split('\'').next().unwrap();
    let mut reply = up.post("/v1/completions", pasted);
    assert_eq!((reply.status, reply.line().is_empty()), (200, false), "{pasted}");
}

/// The line that the banner gives for `path`, as the body of a request.
fn pasted<'u>(up: &'u Up, path: &str) -> &'u str {
    let line = up.banner.split(&format!("curl http://{}{path} ", up.door)).nth(1).unwrap();
    line.split("-d '").nth(1).unwrap().split('\'').next().unwrap()
}

#[test]
fn the_embeddings_example_answers_the_line_to_paste() {
    let folder = models();
    assert!(folder.join("all-minilm-l6-v2").is_dir(), "run make sample");
    let up = Up::start(&examples().join("embeddings.yaml"), &["--claim", &claim()], &[]);
    let reply = up.post("/v1/embeddings", pasted(&up, "/v1/embeddings"));
    assert_eq!(reply.status, 200, "{}", up.banner);
    let answer: serde_json::Value = serde_json::from_str(&reply.text()).unwrap();
    assert_eq!(answer["data"][0]["embedding"].as_array().unwrap().len(), 384);
    assert_eq!(answer["model"], "minilm");
    assert!(!up.banner.contains(" chat minilm"), "{}", up.banner);
    let reply = up.post("/v1/chat/completions", &question("minilm", 4, false));
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("is an embedding model: it answers /v1/embeddings"));
}

#[test]
fn the_reranker_example_answers_the_line_to_paste() {
    let folder = tempfile::tempdir().unwrap();
    let golden = examples().join("../tests/goldens/families/bert-reranker");
    std::fs::create_dir(folder.path().join("reranker")).unwrap();
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(golden.join(file), folder.path().join("reranker").join(file)).unwrap();
    }
    let claim = format!("models={}", folder.path().display());
    let up = Up::start(&examples().join("reranker.yaml"), &["--claim", &claim], &[]);
    let reply = up.post("/v1/rerank", pasted(&up, "/v1/rerank"));
    let status = reply.status;
    let answer: serde_json::Value = serde_json::from_str(&reply.text()).unwrap();
    assert_eq!((status, answer["results"].as_array().map(Vec::len)), (200, Some(2)), "{answer}");
}

#[test]
fn ctrl_c_lets_a_stream_finish_and_takes_nothing_new() {
    let up = Up::start(&examples().join("smollm2.yaml"), &["--claim", &claim()], &[]);
    let mut reply = up.post("/v1/chat/completions", &question("smollm2", 48, true));
    assert!(reply.line().ends_with("\r\n"));
    up.interrupt();
    let rest = reply.text();
    assert!(rest.contains("\"finish_reason\":\"length\"") && rest.contains("[DONE]"), "cut: {rest}");
    let (code, said) = up.wait();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("finishing open streams"), "{said}");
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    let mut up = Up::start(&examples().join("smollm2.yaml"), &["--claim", &claim()], &[]);
    let mut reply = up.post("/v1/chat/completions", &question("smollm2", 3000, true));
    reply.line();
    up.interrupt();
    // Signals of one kind merge while one is pending: the second is sent once the first was seen.
    up.hear("finishing open streams");
    up.interrupt();
    let (code, said) = up.wait();
    assert_eq!(code, Some(130), "{said}");
    assert!(!reply.rest().contains("[DONE]"));
}

#[test]
fn namespaces_are_honoured_and_a_model_at_zero_sleeps() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("models.yaml");
    let mut yaml = String::new();
    for (namespace, replicas) in [("team", 1), ("other", 0)] {
        write!(
            yaml,
            "---\napiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\n\
             metadata: {{name: m, namespace: {namespace}}}\n\
             spec: {{replicas: {replicas}, openWeights: {{source: 'file://{}', digest: '{SAMPLE_DIGEST}', \
             engine: {{contextLength: 64}}}}}}\n",
            models().join(SAMPLE).display()
        )
        .unwrap();
    }
    std::fs::write(&file, yaml).unwrap();
    let up = Up::start(&file, &["--default-namespace", "team"], &[]);
    assert!(up.banner.contains("other/m") && up.banner.contains("(spec.replicas is 0)"), "{}", up.banner);
    assert_eq!(up.post("/v1/chat/completions", &question("m", 1, false)).status, 200);
    let asleep = up.post("/v1/chat/completions", &question("other/m", 1, false));
    assert_eq!(asleep.status, 503);
    assert!(asleep.headers.contains("retry-after"), "{}", asleep.headers);
    assert_eq!(up.post("/v1/chat/completions", &question("default/m", 1, false)).status, 404);
    let long = question("m", 65, false);
    let refused = up.post("/v1/chat/completions", &long.replace("lighthouse", &"lighthouse ".repeat(80)));
    assert_eq!(refused.status, 400, "contextLength is enforced");
}

#[test]
fn a_suspended_model_is_not_started_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("models.yaml");
    let model = |name: &str, suspend: bool| {
        format!(
            "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{name: {name}}}\n\
             spec: {{suspend: {suspend}, openWeights: {{source: 'file://{}'}}}}\n---\n",
            models().join(SAMPLE).display()
        )
    };
    std::fs::write(&file, model("awake", false) + &model("paused", true)).unwrap();
    let up = Up::start(&file, &[], &[]);
    assert!(up.banner.contains("not started  (spec.suspend is true)"), "{}", up.banner);
    assert_eq!(up.post("/v1/chat/completions", &question("awake", 1, false)).status, 200);
    let refused = up.post("/v1/chat/completions", &question("paused", 1, false));
    assert_eq!(refused.status, 503);
    assert!(refused.headers.contains("x-should-retry: false"), "{}", refused.headers);
    assert!(refused.text().contains("model_suspended"));
}

#[test]
fn a_call_for_a_model_that_loads_waits_for_it_unless_its_hold_says_otherwise() {
    let content = std::fs::read(models().join(SAMPLE)).unwrap();
    let hub = Hub::start(&format!("/org/repo/resolve/main/{SAMPLE}"), content, "");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("models.yaml");
    let mut yaml = String::new();
    for (name, hold) in [("waits", "{maxQueued: 1}"), ("refuses", "{maxWait: 0s}")] {
        write!(
            yaml,
            "---\napiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{name: {name}}}\n\
             spec: {{hold: {hold}, openWeights: {{source: 'hf://org/repo/{SAMPLE}', hub: {{endpoint: '{}'}}}}}}\n",
            hub.url
        )
        .unwrap();
    }
    std::fs::write(&file, yaml).unwrap();
    // Nothing is printed before all models are there, so that the ports have to be known.
    let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [door, metrics] = ports.map(|port| port.local_addr().unwrap().to_string());
    let cache = folder.path().join("cache").display().to_string();
    let shut = hub.shut();
    let ask = |model: &str| call(&door, "POST /v1/chat/completions", "", &question(model, 1, false));
    std::thread::scope(|scope| {
        let arguments = ["--listen", &door, "--metrics-listen", &metrics, "--cache-folder", &cache];
        let up = scope.spawn(move || Up::start(&file, &arguments, &[]));
        while TcpStream::connect(&door).is_err() || TcpStream::connect(&metrics).is_err() {
            assert!(!up.is_finished(), "it ended");
            std::thread::yield_now();
        }
        let refused = ask("refuses");
        assert_eq!(refused.status, 503);
        assert!(refused.headers.contains("retry-after") && refused.text().contains("loading"));
        let waits = scope.spawn(|| ask("waits"));
        while !call(&metrics, "GET /metrics", "", "")
            .text()
            .lines()
            .any(|line| line.starts_with("weighbridge_held_requests{") && line.ends_with(" 1"))
        {
            std::thread::yield_now();
        }
        assert!(ask("waits").text().contains("hold_full"), "one may wait");
        drop(shut);
        let answer = waits.join().unwrap();
        assert!(answer.status == 200 && answer.headers.contains("x-weighbridge-held"), "{}", answer.headers);
        drop(up.join().unwrap());
    });
}

#[test]
fn what_does_nothing_here_is_said_and_an_external_model_at_zero_sleeps() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("models.yaml");
    let yaml = format!(
        "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ResourceProfile\nmetadata: {{name: tainted}}\n\
         spec: {{cpu: 1000m, memory: 1Gi, tolerations: [{{operator: Exists}}]}}\n---\n\
         apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{name: open}}\n\
         spec: {{drainTimeout: 1m, rollout: {{strategy: Replace}}, openWeights: {{source: 'file://{}', resources: {{profile: tainted}}}}}}\n---\n\
         apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ExternalProvider\nmetadata: {{name: acme}}\n\
         spec: {{kind: OpenAICompatible, baseURL: 'https://e.example/v1', apiKeys: [{{name: s, key: k}}]}}\n---\n\
         apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{name: closed}}\n\
         spec: {{replicas: 0, external: {{provider: acme, model: theirs}}}}\n",
        models().join(SAMPLE).display()
    );
    std::fs::write(&file, yaml).unwrap();
    // No --secret: who sleeps needs no key.
    let mut up = Up::start(&file, &[], &[]);
    up.hear("sets 1 threads; its memory and its tolerations are for clusters and do nothing here");
    up.hear("open: drainTimeout is a pod's; here --drain-timeout says how long open streams get");
    up.hear("open: rollout is of pods; here another revision comes by starting anew");
    assert!(up.banner.contains("closed  not called at acme  (spec.replicas is 0)"), "{}", up.banner);
    assert_eq!(up.post("/v1/chat/completions", &question("open", 1, false)).status, 200);
    let asleep = up.post("/v1/chat/completions", &question("closed", 1, false));
    assert_eq!(asleep.status, 503);
    assert!(asleep.headers.contains("retry-after"), "{}", asleep.headers);
    assert!(asleep.text().contains("replicas is 0"));
}

#[test]
fn a_model_that_fails_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("models.yaml");
    std::fs::write(folder.path().join("broken.gguf"), b"GGUF\x03\0\0\0").unwrap();
    let mut yaml = String::new();
    for (name, path) in [("good", models().join(SAMPLE)), ("broken", folder.path().join("broken.gguf"))] {
        write!(
            yaml,
            "---\napiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\n\
             metadata: {{name: {name}}}\nspec: {{openWeights: {{source: 'file://{}'}}}}\n",
            path.display()
        )
        .unwrap();
    }
    std::fs::write(&file, yaml).unwrap();
    let up = Up::start(&file, &[], &[]);
    assert_eq!(up.post("/v1/chat/completions", &question("good", 1, false)).status, 200);
    assert_eq!(up.post("/v1/chat/completions", &question("broken", 1, false)).status, 503);
    assert!(up.banner.contains("default/broken can't be served"), "{}", up.banner);
}
