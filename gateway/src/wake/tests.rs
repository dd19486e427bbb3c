use tokio::time::{advance, timeout};

use super::fake::{FakeScale, Mishap};
use super::*;
use crate::directory::{Absence, Directory, Entry};
use crate::metrics::Registry;

const PATH: &str = "/apis/serving.weighbridge.dev/v1alpha1/namespaces/n/modeldeployments/m/scale";

fn target() -> Arc<Target> {
    let asleep = Entry { absence: Absence::Asleep, ..Entry::sample("n", "m", &[]) };
    let directory = Directory::from_entries(vec![asleep]);
    let snapshot = directory.snapshot();
    Arc::clone(snapshot.get("n/m").expect("known"))
}

struct Bed {
    fake: FakeScale,
    wakes: Wakes,
    metrics: GatewayMetrics,
}

impl Bed {
    fn new(mishaps: &[Mishap]) -> Self {
        let metrics = GatewayMetrics::register(&mut Registry::default());
        let fake = FakeScale::with(mishaps);
        Self { wakes: Wakes::new(fake.waker(), metrics.clone()), fake, metrics }
    }

    async fn wake(&self) -> Result<Instant, Arc<WakeError>> {
        self.wakes.wake(&target()).ended().await
    }

    fn count(&self, result: &'static str) -> u64 {
        let labels = WakeLabels { namespace: "n".into(), model: "m".into(), result };
        self.metrics.wakes.get_or_create(&labels).get()
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_scaled_from_0_to_1_once_however_many_ask() {
    let bed = Bed::new(&[]);
    let asked: Vec<_> = (0..1000).map(|_| bed.wakes.wake(&target()).ended()).collect();
    for ended in futures::future::join_all(asked).await {
        ended.expect("woken");
    }
    assert_eq!((bed.fake.replicas(), bed.fake.writes(), bed.count("written")), (1, 1, 1));
    assert_eq!(bed.fake.calls(), [format!("GET {PATH}"), format!("PATCH {PATH}")]);
    // The watch has not brought it yet: nobody asks again for a while.
    let again = bed.wake().await.expect("woken");
    assert_eq!(bed.fake.calls().len(), 2);
    advance(again - Instant::now()).await;
    bed.wake().await.expect("awake");
    assert_eq!((bed.fake.calls().len(), bed.fake.writes(), bed.count("awake")), (3, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_does_not_end_what_others_wait_for() {
    let bed = Bed::new(&[]);
    drop(bed.wakes.wake(&target()));
    let first = bed.wakes.wake(&target());
    drop(first.ended());
    bed.wake().await.expect("woken");
    assert_eq!(bed.fake.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_number_that_is_not_0_is_nobodys_to_overwrite() {
    // Somebody scales between our look and our write.
    let bed = Bed::new(&[Mishap::Before(Some(7))]);
    bed.wake().await.expect("awake");
    assert_eq!((bed.fake.replicas(), bed.fake.writes(), bed.count("awake")), (7, 0, 1));
    // Somebody writes something else, a few times: it is looked at again.
    let bed = Bed::new(&[Mishap::Before(None); 3]);
    bed.wake().await.expect("woken");
    assert_eq!((bed.fake.replicas(), bed.fake.writes(), bed.count("written")), (1, 1, 1));
    // And not for ever.
    let bed = Bed::new(&[Mishap::Before(None); 100]);
    assert!(matches!(*bed.wake().await.expect_err("never"), WakeError::Contended));
    assert_eq!((bed.fake.replicas(), bed.fake.writes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_apiserver_that_fails_is_asked_again_a_few_times() {
    let bed = Bed::new(&[Mishap::Status(500), Mishap::Silence]);
    bed.wake().await.expect("woken");
    assert_eq!((bed.fake.replicas(), bed.fake.writes(), bed.fake.calls().len()), (1, 1, 4));
    let bed = Bed::new(&[Mishap::Status(503); 3]);
    let error = bed.wake().await.expect_err("three times");
    assert_eq!((error.why(), bed.fake.calls().len()), ("the cluster can't be asked to scale it now", 3));
    assert_eq!(bed.count("failed"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_not_asked_again_for_a_while_and_tells_callers_no_names() {
    let bed = Bed::new(&[Mishap::Status(403)]);
    let error = bed.wake().await.expect_err("forbidden");
    assert_eq!(error.why(), "the gateway is not allowed to scale it");
    assert!(crate::forward::chain(&*error).contains("secret-name"), "the log says all");
    assert!(bed.wakes.wake(&target()).failure().is_some(), "whoever comes meanwhile hears of it at once");
    assert_eq!((bed.fake.calls().len(), bed.count("failed")), (1, 1));
    advance(AFTER_FAILURE).await;
    bed.wake().await.expect("woken");
    assert_eq!(bed.fake.writes(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_apiserver_that_says_nothing_holds_nobody_for_ever() {
    let bed = Bed::new(&[Mishap::Silence; 3]);
    let ended = timeout(Duration::from_secs(30), bed.wake()).await.expect("in time");
    assert!(matches!(*ended.expect_err("no answer"), WakeError::Silent));
}
