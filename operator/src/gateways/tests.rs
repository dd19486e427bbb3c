use std::net::Ipv4Addr;
use std::time::Duration;

use kube::Client;
use tokio::task::JoinSet;
use weighbridge_crds::{GatewayState, GoneModel, ModelRoutes, World};

use super::*;
use crate::dial::{Connection, Dial};
use crate::metrics::Metrics;
use crate::peers::Shown;
use crate::watch::{Scope, Unreadable};

/// Nobody is ever there, and nobody says so.
struct Nowhere;

impl Dial for Nowhere {
    fn dial(
        &self,
        _: SocketAddr,
    ) -> futures::future::BoxFuture<'static, std::io::Result<Box<dyn Connection>>> {
        Box::pin(std::future::pending())
    }
}

fn gateways(place: Option<Place>) -> Gateways {
    let silent = tower::service_fn(|_: http::Request<kube::client::Body>| {
        std::future::pending::<Result<http::Response<kube::client::Body>, std::io::Error>>()
    });
    let client = Client::new(silent, "default");
    let leadership = Leadership::none();
    let metrics = Metrics::default();
    let (triggers, _queues) = Triggers::new(leadership.clone(), metrics.clone());
    let unreadable = Unreadable::default();
    let stores =
        Stores::watch(&client, &Scope::Cluster, &triggers, &metrics, &unreadable, &mut JoinSet::new());
    let callers = Callers::new(Arc::new(Nowhere), Shown::plain());
    Gateways::new(place, callers, stores, triggers, leadership)
}

fn somewhere() -> Option<Place> {
    Some(Place { namespace: "system".to_owned(), service: "gateway".to_owned(), port: 8443 })
}

fn ready(names: &[&str]) -> BTreeMap<String, SocketAddr> {
    let at = |name: &&str| ((*name).to_owned(), SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    names.iter().map(at).collect()
}

fn routes(name: &str, generation: i64) -> ModelRoutes {
    let (namespace, name, uid) = ("n".to_owned(), name.to_owned(), "u".to_owned());
    ModelRoutes {
        namespace,
        name,
        uid,
        generation,
        world: World::OpenWeights,
        pods: vec!["p".to_owned()],
        trial: None,
    }
}

fn state(models: &[(&str, i64)], gone: &[&str]) -> GatewayState {
    let gone = gone.iter().map(|name| GoneModel { namespace: "n".to_owned(), name: (*name).to_owned() });
    let models = models.iter().map(|(name, generation)| routes(name, *generation)).collect();
    GatewayState { models, gone: gone.collect(), ..GatewayState::default() }
}

fn whole(models: &[(&str, i64)]) -> Said {
    let mut book = Book::default();
    book.take(state(models, &[]));
    Said::Whole(book)
}

/// Names of the models to look at again; `*` for all.
fn names(touched: Touched) -> Vec<String> {
    match touched {
        Touched::All => vec!["*".to_owned()],
        Touched::These(models) => models.into_iter().map(|(_, name)| name).collect(),
    }
}

fn words(gateways: &Gateways, model: &str) -> Vec<Word> {
    match gateways.heard("n", model) {
        Seen::NotYet => panic!("they were listed"),
        Seen::Ready(gateways) => gateways.into_iter().map(|gateway| gateway.word).collect(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_is_looked_at_where_a_word_of_it_is_another() {
    let gateways = gateways(somewhere());
    assert_eq!(gateways.heard("n", "m"), Seen::NotYet, "they were not listed");
    gateways.follow(ready(&["a", "b"])).await;
    assert_eq!(words(&gateways, "m"), [Word::NotYet, Word::NotYet]);
    // The first that speaks speaks for all models.
    assert_eq!(names(gateways.note("a", whole(&[("l", 1), ("m", 1)]))), ["*"]);
    // The next says the same: only who waited for its word learns something.
    assert_eq!(names(gateways.note("b", whole(&[("l", 1), ("m", 1)]))), ["m"]);
    let of_m = Word::Routes(Routes::of(&routes("m", 1)));
    assert_eq!(words(&gateways, "m"), [of_m.clone(), of_m.clone()]);
    assert_eq!(words(&gateways, "k"), [Word::Unknown, Word::Unknown]);
    assert_eq!(names(gateways.note("b", Said::Changed(state(&[("m", 2), ("l", 1)], &["k"])))), ["m"]);
    assert_eq!(words(&gateways, "m"), [of_m.clone(), Word::Routes(Routes::of(&routes("m", 2)))]);
    // It begins anew, as another process does, and says less.
    assert_eq!(names(gateways.note("b", whole(&[("m", 2)]))), ["l"]);
    assert_eq!(names(gateways.note("b", Said::Lost)), ["*"]);
    assert_eq!(words(&gateways, "m"), [of_m, Word::Lost]);
    assert_eq!(names(gateways.note("b", whole(&[("m", 2)]))), ["*"]);
    assert!(names(gateways.note("b", Said::Nothing)).is_empty());
    assert!(names(gateways.note("a stranger", whole(&[]))).is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_is_not_ready_any_more_is_not_asked_of() {
    let gateways = gateways(somewhere());
    gateways.follow(ready(&["a", "b"])).await;
    gateways.note("a", whole(&[("m", 1)]));
    gateways.note("b", whole(&[("m", 2)]));
    gateways.follow(ready(&["b"])).await;
    assert_eq!(words(&gateways, "m"), [Word::Routes(Routes::of(&routes("m", 2)))]);
    // One that comes back is heard anew.
    gateways.follow(ready(&["a", "b"])).await;
    assert_eq!(words(&gateways, "m")[0], Word::NotYet);
    // The last one has a while to come back.
    let told = gateways.follow(ready(&[])).await;
    assert_eq!((gateways.heard("n", "m"), told), (Seen::NotYet, Some(Instant::now() + AWAY)));
    tokio::time::advance(AWAY).await;
    assert!(words(&gateways, "m").is_empty());
    assert_eq!(gateways.follow(ready(&["a"])).await, None);
    assert_eq!(words(&gateways, "m"), [Word::NotYet]);
}

#[tokio::test(start_paused = true)]
async fn where_none_was_ready_from_the_beginning_nobody_is_waited_for() {
    let gateways = gateways(somewhere());
    assert_eq!(gateways.follow(ready(&[])).await, None);
    assert!(words(&gateways, "m").is_empty());
}

#[tokio::test(start_paused = true)]
async fn where_nobody_says_where_gateways_are_there_are_none() {
    let gateways = gateways(None);
    assert_eq!(gateways.heard("n", "m"), Seen::Ready(Vec::new()));
    // And there is nothing to watch.
    let metrics = Metrics::default();
    let silent = tower::service_fn(|_: http::Request<kube::client::Body>| {
        std::future::pending::<Result<http::Response<kube::client::Body>, std::io::Error>>()
    });
    let run = gateways.run(Client::new(silent, "default"), metrics);
    assert!(tokio::time::timeout(Duration::from_secs(1), run).await.is_ok());
}

/// What gateways measured of one step, so many requests each, and the step.
fn measured(step: i32, requests: u64) -> (ModelRoutes, TrialKey) {
    let key = TrialKey {
        stable: "old".to_owned(),
        canary: "new".to_owned(),
        step,
        begun_at: serde_json::from_value("2026-01-01T00:00:00Z".into()).unwrap(),
    };
    let of = |requests| RevisionFigures { requests, ..RevisionFigures::default() };
    let (stable_figures, canary_figures) = (of(requests * 9), of(requests));
    let trial = TrialFigures { key: key.clone(), stable_figures, canary_figures };
    (ModelRoutes { trial: Some(trial), ..routes("m", 1) }, key)
}

#[test]
fn what_gateways_measured_of_a_step_is_added_up_once_each_was_heard() {
    let (one, key) = measured(2, 10);
    let word = |routes: &ModelRoutes| Word::Routes(Routes::of(routes));
    let seen = |words: Vec<Word>| {
        Seen::Ready(words.into_iter().map(|word| Gateway { name: "g".to_owned(), word }).collect())
    };
    let sum = |words: Vec<Word>| match seen(words).measured("u", Some(&key)) {
        Measured::Known(known) => known.map(|of| (of.stable_figures.requests, of.canary_figures.requests)),
        Measured::NotYet => panic!("heard"),
    };
    assert_eq!(sum(vec![word(&one), word(&measured(2, 4).0)]), Some((126, 14)));
    // One that is lost, that knows of no such model, that is a step behind or measures nothing adds nothing.
    let others = [Word::Lost, Word::Unknown, word(&measured(1, 500).0), word(&routes("m", 1))];
    assert_eq!(sum([vec![word(&one)], others.to_vec()].concat()), Some((90, 10)));
    assert_eq!(sum(others.to_vec()), None);
    assert_eq!(sum(vec![]), None);
    // Of a model that had its name before.
    assert_eq!(seen(vec![word(&one)]).measured("another", Some(&key)), Measured::Known(None));
    // Who was not heard yet is waited for, where anything is measured.
    let unheard = seen(vec![word(&one), Word::NotYet]);
    assert_eq!(unheard.measured("u", Some(&key)), Measured::NotYet);
    assert_eq!(Seen::NotYet.measured("u", Some(&key)), Measured::NotYet);
    assert_eq!(unheard.measured("u", None), Measured::Known(None));
}

#[tokio::test(start_paused = true)]
async fn figures_that_move_are_news_of_their_model_alone() {
    let gateways = gateways(somewhere());
    gateways.follow(ready(&["a"])).await;
    gateways.note("a", whole(&[("l", 1), ("m", 1)]));
    let moved = |requests| {
        let models = vec![measured(1, requests).0, routes("l", 1)];
        Said::Changed(GatewayState { models, ..GatewayState::default() })
    };
    assert_eq!(names(gateways.note("a", moved(5))), ["m"]);
    assert!(names(gateways.note("a", moved(5))).is_empty());
    assert_eq!(names(gateways.note("a", moved(6))), ["m"]);
}
