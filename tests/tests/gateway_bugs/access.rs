//! Keys, and ways around them.

use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weighbridge_gateway::GatewayConfig;
use weighbridge_gateway::access::{Access, Digest};
use weighbridge_gateway::directory::{Directory, World};
use weighbridge_tests::door::{Client, Door, Form, entry, model_access};
use weighbridge_tests::simulator::Simulator;

/// Bug 17 (agentgateway #2171, TensorZero #4260): keys were a matter of the start. One that is made while the gateway runs calls
/// its models, and no other, through every door; and it is out with the next request once it is taken away.
#[tokio::test]
async fn bug_17_a_key_comes_changes_and_goes_while_the_gateway_runs() {
    const KEY: &str = "wb-bug-17";
    let simulator = Simulator::start().await.expect("a simulator");
    let entries =
        ["normal", "faithful"].map(|model| entry(model, World::Open, &[simulator.address()])).into();
    let access = Access::from_resources(&[]);
    let directory = Directory::from_entries(entries);
    let door = Door::guarded(GatewayConfig::default(), directory, access.clone()).await.expect("a gateway");
    let team = |models: &[&str]| [model_access("team", "apps", &[("ci", KEY)], models)];
    for (held, statuses) in [
        (Vec::new(), [401, 401]),
        (team(&["normal"]).into(), [200, 403]),
        (team(&["faithful"]).into(), [403, 200]),
        (team(&["*"]).into(), [200, 200]),
        (vec![model_access("team", "apps", &[("ci", "another")], &["*"])], [401, 401]),
    ] {
        access.replace(&held);
        for form in Form::ALL {
            for (model, status) in ["normal", "faithful"].into_iter().zip(statuses) {
                let mut client = Client::connect(door.address).await.expect("connected");
                let (path, body) = (form.path(model, false), form.body(model, false, "hi"));
                let asked = client.open(Method::POST, &path, &[("x-api-key", KEY)], body).await;
                let answer = asked.expect("begun").whole().await.expect("answered");
                assert_eq!(answer.status, status, "{form:?} {model}: {:?}", answer.text());
            }
        }
    }
}

/// A door for who has a key of it, and a key.
async fn guarded() -> (Simulator, Door) {
    let simulator = Simulator::start().await.expect("a simulator");
    let access = Access::from_resources(&[model_access("team", "apps", &[("ci", GOOD)], &["*"])]);
    let directory = Directory::from_entries(vec![entry("normal", World::Open, &[simulator.address()])]);
    let door = Door::guarded(GatewayConfig::default(), directory, access).await.expect("a gateway");
    (simulator, door)
}

const GOOD: &str = "wb-bug-23";

/// The status of the answer to a request that is written by hand.
async fn raw(door: &Door, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(door.address).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut text = String::new();
    // Who is not read to the end may be cut off.
    let _ = stream.read_to_string(&mut text).await;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no answer to {request:?}: {text:?}")), text)
}

/// Bug 23 (CVE-2026-49468): who named another host, or another path in a header, passed without a key. Here nothing that a
/// caller says of hosts, of addresses or of the way decides: every path asks for a key, but for none that is served.
#[tokio::test]
async fn bug_23_no_host_no_path_and_no_header_opens_the_door() {
    let (simulator, door) = guarded().await;
    let body = r#"{"model":"normal","messages":[{"role":"user","content":"hi"}]}"#;
    let (port, length) = (door.address.port(), body.len());
    let mut tried = 0;
    for (method, path) in [
        ("POST", "/v1/chat/completions".to_owned()),
        ("POST", "/v1/completions".to_owned()),
        ("POST", "/v1/embeddings".to_owned()),
        ("POST", "/v1/rerank".to_owned()),
        ("POST", "/v1/responses".to_owned()),
        ("POST", "/v1/messages".to_owned()),
        ("POST", "/v1/messages/count_tokens".to_owned()),
        ("POST", "/v1beta/models/normal:generateContent".to_owned()),
        ("POST", "/v1beta/models/normal:streamGenerateContent?alt=sse".to_owned()),
        ("POST", "/v1beta/models/normal:countTokens".to_owned()),
        ("POST", "/v1beta/models/normal:embedContent".to_owned()),
        ("GET", "/v1/models".to_owned()),
        ("GET", "/v1/models/normal".to_owned()),
        ("GET", "/v1beta/models".to_owned()),
        ("POST", "/v1/chat/completions?path=/livez".to_owned()),
        ("POST", format!("http://127.0.0.1:{port}/v1/chat/completions")),
        ("POST", "http://localhost/v1/chat/completions".to_owned()),
        ("POST", "http://user:pass@admin/v1/chat/completions".to_owned()),
    ] {
        for headers in [
            "host: gateway.test".to_owned(),
            format!("host: 127.0.0.1:{port}"),
            "host: localhost".to_owned(),
            "host: localhost:9090/livez?".to_owned(),
            "host:".to_owned(),
            "host: x\r\nx-forwarded-host: localhost\r\nx-forwarded-for: 127.0.0.1\r\nx-real-ip: ::1"
                .to_owned(),
            "host: x\r\nforwarded: for=127.0.0.1;host=localhost;proto=https".to_owned(),
            "host: x\r\nx-original-url: /livez\r\nx-rewrite-url: /metrics\r\nx-forwarded-prefix: /livez"
                .to_owned(),
            "host: x\r\nx-forwarded-user: admin\r\nremote-user: admin\r\nx-weighbridge-host: localhost"
                .to_owned(),
        ] {
            let request = format!(
                "{method} {path} HTTP/1.1\r\n{headers}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            let (status, text) = raw(&door, &request).await;
            // What is no request at all is none for anybody.
            assert!([400, 401].contains(&status), "{request}: {text}");
            assert!(!text.contains("\"object\""), "{request}: {text}");
            tried += usize::from(status == 401);
        }
    }
    assert!(tried > 140, "{tried} of them asked for a key");
    // What lies beside the doors is served to nobody, with a key or without.
    for path in [
        "//v1/models",
        "/v1//models",
        "/V1/models",
        "/v1/./models",
        "/livez/../v1/models",
        "/%76%31/models",
        "/v1/models%2f..%2f..%2flivez",
        "/metrics",
        "/livez",
        "/readyz",
        "/tokenize",
        "/weighbridge/residency",
        "/admin",
        "/",
    ] {
        for key in ["", "x-api-key: wb-bug-23\r\n"] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{key}connection: close\r\n\r\n");
            let (status, text) = raw(&door, &request).await;
            assert!([401, 403, 404, 405].contains(&status), "{request}: {text}");
            assert!(!text.contains("weighbridge_requests"), "{text}");
        }
    }
    assert_eq!(simulator.counts().requests, 0, "nobody came through");
}

/// Bug 23 again (CVE-2026-42208): what a caller sends for a key was read as more than a key. It is hashed, and the hash is
/// looked for; nothing else that resembles it is let in, the hash itself least of all.
#[tokio::test]
async fn bug_23_nothing_but_the_key_is_a_key() {
    let (simulator, door) = guarded().await;
    let ask = async |header: &'static str, value: &str| {
        let mut client = Client::connect(door.address).await.expect("connected");
        let body = Form::Chat.body("normal", false, "hi");
        let asked =
            client.open(Method::POST, &Form::Chat.path("normal", false), &[(header, value)], body).await;
        asked.expect("begun").whole().await.expect("answered").status.as_u16()
    };
    let hash = Digest::of(GOOD.as_bytes()).to_string();
    let long = GOOD.repeat(1000);
    let wrong = [
        "' OR '1'='1",
        "') OR 1=1 --",
        "*",
        "%",
        "wb-bug-2",
        "wb-bug-233",
        "WB-BUG-23",
        "null",
        "undefined",
        "true",
        "{\"$ne\":\"\"}",
        "wb-bug-23,",
        "wb-bug-23,wb-bug-23",
        "wb-bug-23 wb-bug-23",
        &hash,
        &long,
    ];
    for value in wrong {
        for header in ["x-api-key", "x-goog-api-key", "api-key"] {
            assert_eq!(ask(header, value).await, 401, "{header}: {value}");
        }
        assert_eq!(ask("authorization", &format!("Bearer {value}")).await, 401, "{value}");
    }
    for value in
        ["Bearer", "Bearer ", "Basic d2ItYnVnLTIzOg==", "wb-bug-23", "Bearer: wb-bug-23", "Token wb-bug-23"]
    {
        assert_eq!(ask("authorization", value).await, 401, "{value}");
    }
    assert_eq!(simulator.counts().requests, 0, "nobody came through");
    assert_eq!(ask("x-api-key", GOOD).await, 200);
}
