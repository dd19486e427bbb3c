use super::{Manifest, ManifestError, parse};
use crate::{ByteSize, Hold, OutOfService, ProviderKind, RolloutStrategy, TimeSpan, World};

/// Hosts that lead into a cluster or a machine, however they are written.
const INSIDE: [&str; 34] = [
    "localhost",
    "LOCALHOST:8443",
    "localhost.",
    "a.localhost",
    "printer.local",
    "metadata.google.internal",
    "Metadata.Google.Internal.",
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "0x7f.1",
    "0x7f000001",
    "2130706433",
    "0177.0.0.1",
    "0.0.0.0",
    "10.0.0.1:443",
    "100.64.0.1",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "192.168.1.1",
    "192.0.0.192",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "[::]",
    "[::1]",
    "[::ffff:10.0.0.1]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:7f00:1::]",
    "[fc00::1]",
    "[fd00:ec2::254]:443",
    "[fe80::1]",
    "[ff02::1]",
];
/// Hosts that are public, some of them by a hair.
const OUTSIDE: [&str; 9] = [
    "api.example.com",
    "localhost.example.com",
    "mylocal",
    "internal.example.com",
    "1.1.1.1",
    "172.32.0.1",
    "100.128.0.1",
    "4.example",
    "xn--bcher-kva.example",
];

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

/// A model with these steps, and more of the canary after them.
fn canary(strategy: &str, steps: &str, more: &str) -> String {
    model(&format!(
        "{{ openWeights: {{ source: 'pvc://m/f' }}, rollout: {{ strategy: {strategy}, canary: {{ steps: [{steps}]{more} }} }} }}"
    ))
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

fn access(spec: &str) -> String {
    format!(
        "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelAccess\nmetadata: {{ name: apps }}\nspec: {spec}\n"
    )
}

fn cache(spec: &str) -> String {
    format!(
        "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelCache\nmetadata: {{ name: store }}\nspec: {spec}\n"
    )
}

/// A key's entry whose digest is this digit over and over.
fn key(name: &str, digit: char) -> String {
    format!("{{ name: {name}, sha256: 'sha256:{}' }}", digit.to_string().repeat(64))
}

#[test]
fn reads_a_model_and_defaults_to_one_replica() {
    let parsed = parse(GOOD).unwrap();
    let [Manifest::ModelDeployment(model)] = parsed.as_slice() else { panic!("{parsed:?}") };
    assert_eq!((model.spec.replicas, model.spec.suspend, model.spec.out_of_service()), (1, false, None));
    assert_eq!(model.spec.world(), Some(World::OpenWeights));
}

#[test]
fn a_model_that_says_nothing_of_waiting_has_the_defaults_and_each_field_its_own() {
    let hold = |spec: &str| match parse(&model(spec)).unwrap().as_slice() {
        [Manifest::ModelDeployment(model)] => model.spec.hold,
        other => panic!("{other:?}"),
    };
    assert_eq!(hold("{ openWeights: { source: 'pvc://m/f' } }"), None, "which is the default");
    let default =
        Hold { max_wait: TimeSpan::seconds(120), max_queued: 256, max_bytes: ByteSize::bytes(256 << 20) };
    assert_eq!(Hold::default(), default);
    for (said, read) in [
        ("{}", default),
        ("{ maxWait: 1h }", Hold { max_wait: TimeSpan::seconds(3600), ..default }),
        ("{ maxWait: 0s, maxQueued: 0 }", Hold { max_wait: TimeSpan::seconds(0), max_queued: 0, ..default }),
        ("{ maxQueued: 100000 }", Hold { max_queued: 100_000, ..default }),
        ("{ maxBytes: 64Mi }", Hold { max_bytes: ByteSize::bytes(64 << 20), ..default }),
    ] {
        let found = hold(&format!("{{ external: {{ provider: p, model: m }}, hold: {said} }}"));
        assert_eq!(found, Some(read), "{said}");
    }
}

#[test]
fn one_revision_follows_another_by_surge_where_nothing_else_is_said() {
    let rollout = |fields: &str| {
        let spec = format!("{{ openWeights: {{ source: 'pvc://m/f' }}{fields} }}");
        match parse(&model(&spec)).unwrap().as_slice() {
            [Manifest::ModelDeployment(model)] => model.spec.rollout.clone().unwrap_or_default().strategy,
            other => panic!("{other:?}"),
        }
    };
    for (fields, strategy) in [
        ("", RolloutStrategy::Surge),
        (", rollout: {}", RolloutStrategy::Surge),
        (", rollout: { strategy: Surge }", RolloutStrategy::Surge),
        (", rollout: { strategy: Replace }", RolloutStrategy::Replace),
        (
            ", rollout: { strategy: Canary, canary: { steps: [{ capacity: 1, traffic: 1, pause: 1s }] } }",
            RolloutStrategy::Canary,
        ),
    ] {
        assert_eq!(rollout(fields), strategy, "{fields}");
    }
}

#[test]
fn reads_every_object_of_a_file_and_skips_what_only_a_cluster_knows() {
    let text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{ name: models }}\n---\n{GOOD}---\n");
    let parsed = parse(&text).unwrap();
    assert!(matches!(&parsed[0], Manifest::Other { kind, .. } if kind == "Namespace"));
    assert!(matches!(&parsed[1], Manifest::ModelDeployment(_)));
}

#[test]
fn who_is_suspended_is_so_whatever_the_replicas() {
    for (fields, wanted) in [
        ("suspend: true, replicas: 0", Some(OutOfService::Suspended)),
        ("suspend: true, replicas: 3", Some(OutOfService::Suspended)),
        ("suspend: false, replicas: 0", Some(OutOfService::ScaledToZero)),
        ("suspend: false, replicas: 3", None),
    ] {
        let parsed =
            parse(&model(&format!("{{ {fields}, openWeights: {{ source: 'pvc://m/f' }} }}"))).unwrap();
        let [Manifest::ModelDeployment(model)] = parsed.as_slice() else { panic!("{parsed:?}") };
        assert_eq!(model.spec.out_of_service(), wanted, "{fields}");
    }
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
            model("{ openWeights: { source: 'pvc://m/f', engine: { kvCacheType: fp4 } } }"),
            &["spec.openWeights.engine.kvCacheType", "auto", "f32", "f16", "q8_0"],
        ),
        (
            model("{ openWeights: { source: 'pvc://m/f', engine: { quantize: Q5_K } } }"),
            &["spec.openWeights.engine.quantize", "Q8_0", "Q4_K"],
        ),
        (
            model("{ openWeights: { source: 'pvc://m/f', engine: { sleep: { weights: host } } } }"),
            &["spec.openWeights.engine.sleep", "afterSeconds"],
        ),
        (
            model("{ openWeights: { source: 'pvc://m/f', engine: { sleep: { afterSeconds: 0 } } } }"),
            &["spec.openWeights.engine.sleep.afterSeconds", "1"],
        ),
        (
            model("{ openWeights: { source: 'pvc://m/f' }, hold: { maxWait: 2h } }"),
            &["spec.hold.maxWait", "up to 1h", "write 90s, 2m or 1h"],
        ),
        (
            model("{ openWeights: { source: 'pvc://m/f' }, hold: { maxWait: 90 } }"),
            &["spec.hold.maxWait", "put it in quotes"],
        ),
        (
            model("{ openWeights: { source: 'pvc://m/f' }, hold: { maxWait: 1.5h } }"),
            &["spec.hold.maxWait", "does not match", "[hms]"],
        ),
        (
            model("{ openWeights: { source: 'pvc://m/f' }, hold: { maxQueued: 100001 } }"),
            &["spec.hold.maxQueued", "0 to 100000"],
        ),
        (
            model("{ openWeights: { source: 'pvc://m/f' }, hold: { maxBytes: 64MB } }"),
            &["spec.hold.maxBytes", "does not match", "Ki|Mi|Gi"],
        ),
        (
            model("{ openWeights: { source: 'ftp://host/file' } }"),
            &["no known scheme", "hf://", "s3://", "oci://"],
        ),
        (
            model("{ openWeights: { source: 'oci://r/repo/file' } }"),
            &["oci://registry/repository:tag/file.gguf"],
        ),
        (model("{ openWeights: { source: 'https://h/f?sig=x' } }"), &["no user, query or fragment"]),
        (
            model("{ openWeights: { source: 'gs://b1/o', storage: { region: eu } } }"),
            &["storage.region belongs to s3 sources only"],
        ),
        (
            model("{ openWeights: { source: 'pvc://m/f', caCertificates: { name: c, key: k } } }"),
            &["caCertificates is for sources that are fetched"],
        ),
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
            model("{ openWeights: { source: 'pvc://m/f', resources: { profile: p, gpus: all } } }"),
            &["resources.gpus as a number from 1 to 64, or auto"],
        ),
        (
            model("{ openWeights: { source: 'pvc://m/f', resources: { profile: p, gpus: 65 } } }"),
            &["gpus is a number from 1 to 64, or auto"],
        ),
        (
            model("{ replicas: -1, openWeights: { source: 'pvc://m/f' } }"),
            &["spec.replicas", "-1", "0 to 1000"],
        ),
        (model("{ replicas: two, openWeights: { source: 'pvc://m/f' } }"), &["spec.replicas", "integer"]),
        (
            model("{ drainTimeout: 300, openWeights: { source: 'pvc://m/f' } }"),
            &["spec.drainTimeout", "quotes"],
        ),
        (
            model("{ drainTimeout: 5min, openWeights: { source: 'pvc://m/f' } }"),
            &["spec.drainTimeout", "match"],
        ),
        (
            model("{ drainTimeout: '', openWeights: { source: 'pvc://m/f' } }"),
            &["spec.drainTimeout", "match"],
        ),
        (
            model("{ drainTimeout: 1h1s, openWeights: { source: 'pvc://m/f' } }"),
            &["spec.drainTimeout", "more than an hour", "1h or less"],
        ),
        (
            model("{ rollout: { strategy: Recreate }, openWeights: { source: 'pvc://m/f' } }"),
            &["spec.rollout.strategy", "Surge", "Replace", "Canary"],
        ),
        (
            model("{ rollout: { strategy: Canary }, openWeights: { source: 'pvc://m/f' } }"),
            &["spec.rollout.canary", "canary goes with strategy: Canary", "set both"],
        ),
        (
            canary("Surge", "{ capacity: 1, traffic: 1, pause: 1s }", ""),
            &["canary goes with strategy: Canary"],
        ),
        (canary("Canary", "", ""), &["spec.rollout.canary.steps", "has 0 entries; 1 to 10 are allowed"]),
        (
            canary("Canary", "{ capacity: 1, traffic: 0, pause: 1s }", ""),
            &["spec.rollout.canary.steps[0].traffic", "0 is outside 1 to 99"],
        ),
        (
            canary("Canary", "{ capacity: 1, traffic: 100, pause: 1s }", ""),
            &["spec.rollout.canary.steps[0].traffic", "100 is outside 1 to 99"],
        ),
        (
            canary(
                "Canary",
                "{ capacity: 2, traffic: 20, pause: 1s }, { capacity: 1, traffic: 10, pause: 1s }",
                "",
            ),
            &["traffic goes down", "in the order in which"],
        ),
        (
            canary("Canary", "{ capacity: 25%, traffic: 26, pause: 1s }", ""),
            &["larger share than capacity", "lower traffic"],
        ),
        (
            canary("Canary", "{ capacity: 0, traffic: 1, pause: 1s }", ""),
            &["steps[0].capacity", "0 is outside 1 to 1000"],
        ),
        (
            canary("Canary", "{ capacity: 101%, traffic: 1, pause: 1s }", ""),
            &["steps[0].capacity", "\"101%\" does not match"],
        ),
        (
            canary("Canary", "{ capacity: half, traffic: 1, pause: 1s }", ""),
            &["steps[0].capacity", "\"half\" does not match"],
        ),
        (
            canary("Canary", "{ capacity: 1, traffic: 1, pause: 0s }", ""),
            &["pause is a length of time up to 24h"],
        ),
        (
            canary("Canary", "{ capacity: 1, traffic: 1, pause: 24h1s }", ""),
            &["pause is a length of time up to 24h"],
        ),
        (
            canary("Canary", "{ capacity: 1, traffic: 1, pause: later }", ""),
            &["steps[0].pause", "does not match"],
        ),
        (canary("Canary", "{ capacity: 1, traffic: 1 }", ""), &["steps[0].pause", "required"]),
        (
            canary("Canary", "{ capacity: 1, traffic: 1, pause: 1s }", ", abort: { timeToFirstToken: 5 }"),
            &["abort.timeToFirstToken", "5 is outside 10 to 10000"],
        ),
        (
            canary("Canary", "{ capacity: 1, traffic: 1, pause: 1s }", ", abort: { minRequests: 0 }"),
            &["abort.minRequests", "0 is outside 1 to 1000000"],
        ),
        (
            canary("Canary", "{ capacity: 1, traffic: 1, pause: 1s }", ", onInconclusive: Wait"),
            &["canary.onInconclusive", "Hold, Promote, Abort"],
        ),
        (
            model("{ rollout: { strategy: Replace }, external: { provider: p, model: m } }"),
            &["spec.rollout", "external alone has none", "remove it"],
        ),
        (
            model("{ drainTimeout: 1m, external: { provider: p, model: m } }"),
            &["spec.drainTimeout", "external alone has none", "remove it"],
        ),
        (model("{ suspend: 'no', openWeights: { source: 'pvc://m/f' } }"), &["spec.suspend", "boolean"]),
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
            provider("{ kind: OpenAICompatible, baseURL: 'http://host/v1', apiKeys: [{ name: s, key: k }] }"),
            &["in the clear", "https://"],
        ),
        (
            provider(
                "{ kind: OpenAICompatible, baseURL: 'https://u:p@host/', apiKeys: [{ name: s, key: k }] }",
            ),
            &["baseURL must be"],
        ),
        (
            provider("{ kind: Telepathy, baseURL: 'https://host/', apiKeys: [{ name: s, key: k }] }"),
            &["spec.kind", "OpenAICompatible"],
        ),
        (provider("{ kind: OpenAICompatible, baseURL: 'https://host/' }"), &["spec.apiKeys", "required"]),
        (provider("{ kind: OpenAI, apiKeys: [] }"), &["spec.apiKeys", "has 0 entries; 1 to 16 are allowed"]),
        (
            provider(&format!("{{ kind: OpenAI, apiKeys: [{}] }}", "{ name: s, key: k },".repeat(17))),
            &["spec.apiKeys", "has 17 entries"],
        ),
        (
            provider("{ kind: OpenAI, apiKeys: [{ name: s, key: k, weight: 0 }] }"),
            &["spec.apiKeys[0].weight", "1 to 1000"],
        ),
        (
            provider("{ kind: OpenAI, apiKeys: [{ name: s, key: k }, { name: s, key: k, weight: 2 }] }"),
            &["named twice"],
        ),
        (
            provider("{ kind: AnthropicCompatible, apiKeys: [{ name: s, key: k }] }"),
            &["no address of its own", "set baseURL"],
        ),
        (
            provider(
                "{ kind: AzureOpenAI, baseURL: 'https://n.openai.azure.com', apiKeys: [{ name: s, key: k }] }",
            ),
            &["ends in /openai/v1"],
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
        (
            model("{ openWeights: { source: 'pvc://c/f', cache: store } }"),
            &["spec.openWeights.cache", "cache is for what is fetched", "remove it"],
        ),
        (cache("{}"), &["spec.claim", "required"]),
        (cache("{ claim: {} }"), &["set name, of a claim that is there, or size"]),
        (cache("{ claim: { name: c, size: 1Gi } }"), &["set name, of a claim that is there, or size"]),
        (cache("{ claim: { size: 1gi } }"), &["claim.size is not a quantity above zero", "200Gi"]),
        (cache("{ claim: { name: c, storageClassName: s } }"), &["set size in place of name"]),
        (cache("{ claim: { name: c, accessModes: [ReadWriteOnce] } }"), &["set size in place of name"]),
        (cache("{ claim: { size: 1Gi, accessModes: [ReadOnlyMany] } }"), &["spec.claim.accessModes[0]"]),
        (cache("{ claim: { name: c }, maxSize: '0' }"), &["maxSize is not a quantity above zero", "180Gi"]),
        (cache("{ claim: { size: 1Gi }, maxSize: 2Gi }"), &["maxSize is more than claim.size"]),
        (
            cache("{ claim: { name: c }, prefetch: [{ source: 'file:///f' }] }"),
            &["a cache holds what is fetched", "remove it"],
        ),
        (cache("{ claim: { name: c }, prefetch: [{ source: 'hf://o/r/./f' }] }"), &["'.' or '..'"]),
        (cache("{ claim: { name: c }, node: n }"), &["spec.node", "unknown field"]),
        (profile("{ cpu: many, memory: 1Gi }"), &["spec.cpu", "not a quantity above zero", "500m"]),
        (profile("{ cpu: '0', memory: 1Gi }"), &["spec.cpu", "not a quantity above zero"]),
        (profile("{ cpu: 0.5, memory: 1Gi }"), &["spec.cpu", "put it in quotes"]),
        (profile("{ cpu: 1, memory: '-1Gi' }"), &["spec.memory", "not a quantity above zero", "16Gi"]),
        (profile("{ cpu: 1, memory: 1gi }"), &["spec.memory", "not a quantity above zero"]),
        (profile("{ cpu: 1, memory: 1Gi, gpu: { count: 0 } }"), &["spec.gpu.count", "1 to 64"]),
        (
            profile(
                "{ cpu: 1, memory: 1Gi, gpu: { resource: nvidia.com/gpu, deviceClass: gpu.nvidia.com } }",
            ),
            &["spec.gpu.deviceClass", "remove the other"],
        ),
        (
            profile("{ cpu: 1, memory: 1Gi, gpu: { selectors: ['true'] } }"),
            &["spec.gpu.selectors", "name that in gpu.deviceClass"],
        ),
        (profile("{ cpu: 1, memory: 1Gi, gpu: { memory: big } }"), &["gpu.memory is not a quantity", "80Gi"]),
        (
            GOOD.replace("name: chat", "name: chat, labelz: { a: b }"),
            &["metadata.labelz", "unknown field", "labels"],
        ),
        (
            GOOD.replace("name: chat", "name: chat, labels: { a: 1 }"),
            &["metadata.labels.a", "put it in quotes"],
        ),
        (format!("{GOOD}specs: {{}}\n"), &["specs: unknown field", "spec"]),
        (access("{ keys: [], models: ['*'] }"), &["spec.keys", "0 entries", "1 to 256"]),
        (access(&format!("{{ keys: [{}], models: [] }}", key("a", '0'))), &["spec.models", "0 entries"]),
        (access("{ models: ['*'] }"), &["spec.keys", "required"]),
        (
            access(&format!("{{ keys: [{}, {}], models: ['*'] }}", key("a", '0'), key("a", '1'))),
            &["spec.keys[1]", "\"a\" is there twice", "remove one"],
        ),
        (
            access(&format!("{{ keys: [{}, {}], models: ['*'] }}", key("a", '0'), key("b", '0'))),
            &["spec.keys", "under two names", "give each its own key"],
        ),
        (
            access(&format!("{{ keys: [{}], models: [m, m] }}", key("a", '0'))),
            &["spec.models[1]", "\"m\" is there twice"],
        ),
        (
            access(&format!("{{ keys: [{}], models: ['*', m] }}", key("a", '0'))),
            &["spec.models", "others beside it", "keep '*' alone"],
        ),
        (
            access(&format!("{{ keys: [{}], models: [other/m] }}", key("a", '0'))),
            &["spec.models[0]", "does not match"],
        ),
        (
            access(&format!("{{ keys: [{}], models: ['m:'] }}", key("a", '0'))),
            &["spec.models[0]", "does not match"],
        ),
        (access(&format!("{{ keys: [{}], models: [m] }}", key("A", '0'))), &["spec.keys[0].name"]),
        (
            access(&format!("{{ keys: [{}], models: [m] }}", key("a", 'F'))),
            &["spec.keys[0].sha256", "is not the hash of a key", "weighbridge key hash"],
        ),
        (
            access(&format!("{{ keys: [{}], models: [m] }}", key("a, expiresAt: soon", '0'))),
            &["spec.keys[0].expiresAt", "2026-12-31T00:00:00Z"],
        ),
        (
            access(&format!("{{ keys: [{}], models: [m], roles: [] }}", key("a", '0'))),
            &["spec.roles", "unknown field"],
        ),
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

/// Somebody will put the key where its hash belongs.
#[test]
fn a_key_in_place_of_its_hash_is_in_no_refusal() {
    let long = "wb-8150815".repeat(10);
    for given in ["wb-8150815", "8150815", long.as_str()] {
        let all = problems_of(&access(&format!("{{ keys: [{{ name: a, sha256: {given} }}], models: [m] }}")))
            .join("; ");
        assert!(!all.contains("8150815") && all.contains("spec.keys[0].sha256"), "{all}");
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
        profile("{ cpu: 4, memory: '1e9', gpu: { deviceClass: gpu.nvidia.com, selectors: ['true'] } }"),
        cache("{ claim: { name: c }, maxSize: 180Gi, prefetch: [{ source: 'hf://o/r/f', revision: v1 }] }"),
        cache("{ claim: { size: 2Gi, storageClassName: s, accessModes: [ReadWriteOnce] }, maxSize: 2Gi }"),
        model("{ openWeights: { source: 'hf://o/r/f', cache: store } }"),
        profile("{ cpu: 500m, memory: 1.5Gi }"),
        model("{ replicas: 0, external: { provider: p, model: m } }"),
        model(
            "{ replicas: 5, serve: External, external: { provider: p, model: m }, openWeights: { source: 'pvc://m/f' } }",
        ),
        model(&format!("{{ openWeights: {{ source: 'hf://o/r/f', {hub} }} }}")),
        model("{ openWeights: { source: 'hf://o/r/f', hub: { endpoint: 'http://mirror' } } }"),
        access(&format!("{{ keys: [{}, {}], models: ['*'] }}", key("a", '0'), key("b", '1'))),
        access(&format!(
            "{{ keys: [{}], models: [m, 'm:tone', other] }}",
            key("a, expiresAt: '2027-01-31T00:00:00Z'", '0')
        )),
    ] {
        assert!(parse(&text).is_ok(), "{text}: {:?}", parse(&text));
    }
}

#[test]
fn an_object_may_be_in_a_file_once() {
    let other = |text: &str| text.replace("metadata: {", "metadata: { namespace: other,");
    let own = |text: &str| text.replace("metadata: {", "metadata: { namespace: default,");
    let key = provider("{ kind: OpenAICompatible, baseURL: 'https://h/', apiKeys: [{ name: s, key: k }] }");
    for (text, name) in [
        (GOOD, "ModelDeployment default/chat"),
        (&key, "ExternalProvider default/acme"),
        (&cache("{ claim: { name: c } }"), "ModelCache default/store"),
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
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: { name: acme }\n";
    assert!(parse(&format!("{pod}---\n{pod}---\n{map}---\n{key}")).is_ok());
    assert!(parse(&format!("{map}---\n{map}")).unwrap_err().to_string().contains("ConfigMap default/acme"));
    let mistyped = parse(&map.replace("metadata", "data: { ca.crt: 1 }\nmetadata")).unwrap_err().to_string();
    assert!(mistyped.contains("data.ca.crt"), "{mistyped}");
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

/// Both ways: the rule knows the kinds that have an address of their own.
#[test]
fn a_kind_needs_a_base_url_unless_its_address_is_known() {
    for kind in ProviderKind::ALL {
        let text = provider(&format!(
            "{{ kind: {}, apiKeys: [{{ name: s, key: k }}]{} }}",
            kind.as_str(),
            place(kind)
        ));
        assert_eq!(parse(&text).is_ok(), kind.has_address(), "{text}: {:?}", parse(&text));
    }
}

fn place(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::Vertex => ", vertex: { project: 'example.com:p-1', location: us-central1 }",
        ProviderKind::Bedrock => ", bedrock: { region: us-east-1 }",
        ProviderKind::OpenAI
        | ProviderKind::AzureOpenAI
        | ProviderKind::Anthropic
        | ProviderKind::Gemini
        | ProviderKind::OpenAICompatible
        | ProviderKind::AnthropicCompatible => "",
    }
}

#[test]
fn a_cloud_needs_its_place_and_no_other_kind_takes_it() {
    let with = |kind: ProviderKind, place: &str| {
        let url = ", baseURL: 'https://h.example/openai/v1'";
        provider(&format!("{{ kind: {}{url}, apiKeys: [{{ name: s, key: k }}]{place} }}", kind.as_str()))
    };
    for kind in ProviderKind::ALL {
        for of in [ProviderKind::OpenAI, ProviderKind::Vertex, ProviderKind::Bedrock] {
            let text = with(kind, place(of));
            let fits = place(of) == place(kind);
            assert_eq!(parse(&text).is_ok(), fits, "{text}: {:?}", parse(&text));
        }
    }
    let all = problems_of(&with(ProviderKind::Vertex, "")).join("; ");
    assert!(all.contains("vertex.project and vertex.location"), "{all}");
    let all = problems_of(&with(ProviderKind::Bedrock, "")).join("; ");
    assert!(all.contains("set bedrock.region"), "{all}");
    for (kind, place, field) in [
        (ProviderKind::Vertex, "vertex: { project: p, location: 'us/../x' }", "vertex.location"),
        (ProviderKind::Vertex, "vertex: { project: '..', location: us }", "vertex.project"),
        (ProviderKind::Vertex, "vertex: { project: p }", "location"),
        (ProviderKind::Bedrock, "bedrock: { region: 'us-east-1.evil.example' }", "bedrock.region"),
        (ProviderKind::Bedrock, "bedrock: {}", "region"),
    ] {
        let all = problems_of(&with(kind, &format!(", {place}"))).join("; ");
        assert!(all.contains(field), "{place}: {all}");
    }
}

#[test]
fn an_address_inside_is_refused_unless_it_is_asked_for() {
    let with = |host: &str, more: &str| {
        let text = format!("https://{host}/v1");
        provider(&format!(
            "{{ kind: OpenAICompatible, baseURL: '{text}', apiKeys: [{{ name: s, key: k }}]{more} }}"
        ))
    };
    for host in INSIDE {
        let all = problems_of(&with(host, "")).join("; ");
        assert!(all.contains("public host") || all.contains("baseURL must be"), "{host}: {all}");
    }
    for host in ["localhost", "10.0.0.1:8443", "[fd00::1]"] {
        assert!(parse(&with(host, ", allowPrivate: true")).is_ok(), "{host}");
    }
    for host in OUTSIDE {
        assert!(parse(&with(host, "")).is_ok(), "{host}: {:?}", parse(&with(host, "")));
    }
}
