//! What a cloud's keys are made of, and what is got for them, is on no surface: answers, errors, logs at every level, metrics.

use weighbridge_tests::log::{Log, OfThisThread};
use weighbridge_tests::simulator::{Seen, Simulator, bedrock};
use weighbridge_wire::provider::Kind;

use super::bed::{Again, Bed, key, raw};

/// What a request showed of a key: its signature, the token, or what was signed for one.
fn shown(seen: &Seen) -> Option<String> {
    if seen.path == "/token" {
        let form = String::from_utf8_lossy(&seen.body).into_owned();
        return form.rsplit_once('.').map(|(_, signature)| signature.to_owned());
    }
    let header = seen.headers.get("authorization")?.to_str().ok()?;
    let (_, shown) = header.rsplit_once("Signature=").or_else(|| header.split_once("Bearer "))?;
    Some(shown.to_owned())
}

/// Writes a key that a simulator takes.
type Written = fn(&Simulator) -> String;

#[tokio::test]
async fn no_surface_shows_a_secret_of_a_cloud() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(log.writer())
        .finish();
    // Everything of this test runs on its own thread.
    let _logging = OfThisThread::new(subscriber);
    let mut surfaces = String::new();
    let mut sent = Vec::new();
    let keys: [(Kind, Written); 4] = [
        (Kind::Vertex, |simulator| key(Kind::Vertex, simulator)),
        (Kind::Bedrock, |_| bedrock::access_key(false).to_string()),
        (Kind::Bedrock, |_| bedrock::access_key(true).to_string()),
        (Kind::Bedrock, |_| bedrock::API_KEY.to_owned()),
    ];
    for (kind, key) in keys {
        let simulator = Simulator::start().await.expect("a simulator");
        let key = key(&simulator);
        let bed = Bed::with(kind, simulator, &[key], Again::Never).await;
        for behaviour in ["faithful", "echo-key", "status-403", "status-503", "limited-no-hint"] {
            let (path, body) = raw(kind, behaviour);
            let answer = bed.at_proxy(&path, &body).await;
            let said = answer.text().expect("text");
            assert!(behaviour != "echo-key" || said.contains("your key is"), "{said}");
            surfaces += &format!("{:?} {said}", answer.headers);
        }
        for path in ["/metrics", "/readyz"] {
            surfaces += bed.admin(path).await.text().expect("text");
        }
        surfaces += &format!("{:?}", bed.until(|_| true).await);
        sent.extend(bed.simulator.seen().iter().filter_map(shown));
    }
    surfaces += &log.text();
    assert!(surfaces.contains("the provider answered with an error"), "no log");
    assert!(sent.len() > 12, "signatures, bearers and assertions: {}", sent.len());
    let kept = ["canary", "PRIVATE KEY", bedrock::SECRET_ACCESS_KEY, bedrock::SESSION_TOKEN, "ya29."];
    for secret in kept.into_iter().chain(sent.iter().map(String::as_str)) {
        let at = surfaces.find(secret);
        assert_eq!(at.map(|at| &surfaces[at.saturating_sub(120)..(at + 40).min(surfaces.len())]), None);
    }
}
