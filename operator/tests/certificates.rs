//! The keeper of the installation's certificates, against a server that dies at every write, before it or after.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A fixture that can't be read fails the test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use weighbridge_operator::Metrics;
use weighbridge_operator::apply::Caller;
use weighbridge_operator::certificates::{Keeper, KeeperError, Lifetimes, Places, lifetime};
use weighbridge_operator::leader::{Candidate, Leadership};
use weighbridge_tls::{Facts, facts_of_pem};

const AUTHORITY: &str = "/api/v1/namespaces/system/secrets/authority";
const GATEWAY: &str = "/api/v1/namespaces/doors/secrets/gateway";

/// What becomes of a write.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    /// It never arrives.
    Lost,
    /// It is done, and nobody hears of it.
    Unheard,
}

/// Objects by path.
#[derive(Clone, Default)]
struct Server {
    objects: Arc<Mutex<BTreeMap<String, Value>>>,
    writes: Arc<Mutex<Vec<String>>>,
    /// The write, counted from now, that goes wrong, and how.
    doomed: Arc<Mutex<Option<(usize, Fate)>>>,
}

impl Server {
    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        let (status, answer) = if parts.method == Method::GET {
            match self.objects.lock().unwrap().get(&path) {
                Some(object) => (StatusCode::OK, object.clone()),
                None => (
                    StatusCode::NOT_FOUND,
                    json!({"status": "Failure", "code": 404, "reason": "NotFound", "message": "none"}),
                ),
            }
        } else {
            let doomed = {
                let mut doomed = self.doomed.lock().unwrap();
                match &mut *doomed {
                    Some((0, fate)) => Some(*fate),
                    Some((left, _)) => {
                        *left -= 1;
                        None
                    }
                    None => None,
                }
            };
            if doomed == Some(Fate::Lost) {
                return Err(std::io::Error::other("the process died"));
            }
            let mut object: Value = serde_json::from_slice(&body).map_err(std::io::Error::other)?;
            let query = parts.uri.query().unwrap_or_default();
            assert!(query.contains("fieldManager=weighbridge"), "{query}");
            let mut objects = self.objects.lock().unwrap();
            let known = objects.get(&path).map(|known| &known["metadata"]);
            // Over what is there only as the object that was looked at.
            assert_eq!(object["metadata"].get("uid"), known.map(|known| &known["uid"]), "{path}");
            // Of authorities only with its version too: two never write over each other, and whoever writes to a certificate
            // all the time does not keep it from being renewed.
            let version = known.map(|known| &known["resourceVersion"]).filter(|_| path != GATEWAY);
            assert_eq!(object["metadata"].get("resourceVersion"), version, "{path}");
            object["metadata"]["uid"] = json!(format!("uid of {path}"));
            object["metadata"]["resourceVersion"] = json!(objects.len().to_string() + &path);
            objects.insert(path.clone(), object.clone());
            self.writes.lock().unwrap().push(path);
            if doomed == Some(Fate::Unheard) {
                return Err(std::io::Error::other("the process died"));
            }
            (StatusCode::OK, object)
        };
        let response = Response::builder().status(status);
        response.body(Body::from(answer.to_string().into_bytes())).map_err(std::io::Error::other)
    }

    fn secret(&self, path: &str) -> Option<Secret> {
        let object = self.objects.lock().unwrap().get(path)?.clone();
        Some(serde_json::from_value(object).unwrap())
    }

    fn writes(&self) -> usize {
        self.writes.lock().unwrap().len()
    }
}

/// Leads as a real candidate does, with a Lease on a server of its own.
async fn leading() -> Leadership {
    let lease = Client::new(tower::service_fn(|request| Server::default().answer_lease(request)), "default");
    let candidate = Candidate::new(lease, "system", "lease", "me".to_owned(), Metrics::default());
    let leadership = candidate.leadership();
    tokio::spawn(candidate.run(std::future::pending()));
    leadership.gained().await;
    leadership
}

impl Server {
    /// Takes every Lease.
    async fn answer_lease(self, request: Request<Body>) -> Result<Response<Body>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
        let (status, text) = if parts.method == Method::GET {
            (
                StatusCode::NOT_FOUND,
                json!({"status": "Failure", "code": 404, "reason": "NotFound"}).to_string(),
            )
        } else {
            (StatusCode::OK, String::from_utf8(body.to_vec()).map_err(std::io::Error::other)?)
        };
        let response = Response::builder().status(status);
        response.body(Body::from(text.into_bytes())).map_err(std::io::Error::other)
    }
}

/// A process that has just started.
fn keeper(server: &Server, leadership: &Leadership) -> Keeper {
    let answering = server.clone();
    let client = Client::new(tower::service_fn(move |request| answering.clone().answer(request)), "default");
    let places = Places {
        namespace: "system".to_owned(),
        authority: "authority".to_owned(),
        gateway_namespace: "doors".to_owned(),
        gateway: "gateway".to_owned(),
    };
    let lifetimes = Lifetimes::new(lifetime("300d").unwrap(), lifetime("9d").unwrap()).unwrap();
    let caller = Caller::new(leadership.clone(), Metrics::default());
    Keeper::new(client, caller, places, lifetimes, Metrics::default())
}

fn at(days: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_hours(24 * days)
}

fn certificate(secret: &Secret, name: &str) -> Facts {
    facts_of_pem(&secret.data.as_ref().unwrap().get(name).unwrap().0).unwrap()
}

/// Whether the gateways' certificate is good at `now`, and trusts every authority there is.
fn check(server: &Server, now: Timestamp) {
    let authority = server.secret(AUTHORITY).expect("an authority");
    let gateway = server.secret(GATEWAY).expect("a certificate");
    let data = authority.data.as_ref().unwrap();
    let certificates: Vec<_> = data.keys().filter(|name| name.ends_with(".crt")).collect();
    let leaf = certificate(&gateway, "tls.crt");
    let signers = certificates.iter().map(|name| certificate(&authority, name));
    let signer =
        signers.into_iter().find(|signer| signer.subject == leaf.issuer).expect("one of them signed it");
    assert!(leaf.not_before <= now.as_second() && now.as_second() < leaf.not_after);
    assert!(leaf.not_after <= signer.not_after);
    let bundle = String::from_utf8(gateway.data.as_ref().unwrap()["ca.crt"].0.clone()).unwrap();
    assert_eq!(bundle.matches("BEGIN CERTIFICATE").count(), certificates.len());
}

#[tokio::test]
async fn a_process_that_dies_at_any_write_leaves_what_the_next_goes_on_from() {
    let leadership = leading().await;
    // From nothing; a renewed certificate; a second authority; its first word; the end of the first.
    for begin in [None, Some(7), Some(200), Some(292), Some(301)] {
        for fate in [Fate::Lost, Fate::Unheard] {
            for doomed in 0..2 {
                let server = Server::default();
                let mut now = at(0);
                if let Some(days) = begin {
                    for day in [0, 7, 200, 292, 301].into_iter().filter(|day| *day < days) {
                        keeper(&server, &leadership).look(at(day)).await.expect("kept");
                    }
                    now = at(days);
                }
                *server.doomed.lock().unwrap() = Some((doomed, fate));
                let died = keeper(&server, &leadership).look(now).await;
                let hit = died.is_err();
                *server.doomed.lock().unwrap() = None;
                keeper(&server, &leadership).look(now).await.expect("the next process goes on");
                check(&server, now);
                let settled = server.writes();
                let next = keeper(&server, &leadership);
                next.look(now).await.expect("kept");
                assert_eq!(server.writes(), settled, "nothing is written where nothing is due");
                assert!(hit || doomed == 1, "day {begin:?}: write {doomed} was meant to be one");
                assert!(next.issuer().borrow().is_some());
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_ours_or_not_readable_is_left_alone_and_named() {
    let leadership = leading().await;
    for path in [AUTHORITY, GATEWAY] {
        let server = Server::default();
        let theirs = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "uid": "theirs"}, "data": {}});
        server.objects.lock().unwrap().insert(path.to_owned(), theirs.clone());
        let error = keeper(&server, &leadership).look(at(0)).await.expect_err("refused");
        assert!(matches!(error, KeeperError::NotOurs(_)), "{error}");
        assert!(error.to_string().contains(if path == AUTHORITY {
            "system/authority"
        } else {
            "doors/gateway"
        }));
        assert_eq!(server.objects.lock().unwrap()[path], theirs);
    }
    let server = Server::default();
    keeper(&server, &leadership).look(at(0)).await.expect("kept");
    {
        let mut objects = server.objects.lock().unwrap();
        objects.get_mut(AUTHORITY).unwrap()["data"]["tls.key"] = json!("bm9uc2Vuc2U=");
    }
    let before = server.writes();
    let error = keeper(&server, &leadership).look(at(0)).await.expect_err("refused");
    let said = error.to_string();
    assert!(said.contains("system/authority") && said.contains("delete it"), "{said}");
    assert_eq!(server.writes(), before);
}

#[tokio::test]
async fn who_does_not_lead_writes_nothing() {
    let server = Server::default();
    let refused = keeper(&server, &Leadership::none()).look(at(0)).await;
    assert!(matches!(refused, Err(KeeperError::Call(_))));
    assert_eq!(server.writes(), 0);
}
