use std::sync::Mutex;

use tokio::task::{JoinHandle, yield_now};
use weighbridge_crds::{ByteSize, Hold, TimeSpan};
use weighbridge_wire::canonical::FailureClass;

use super::*;
use crate::directory::Entry;
use crate::metrics::{HoldLabels, Registry};
use crate::wake::fake::{FakeScale, Mishap};

const MAX_WAIT: Duration = Duration::from_secs(120);
/// Long after all that is tested here.
const TOTAL: Duration = Duration::from_secs(3600);

fn entry(absence: Absence, ports: &[u16]) -> Entry {
    let hold = Hold { max_queued: 2000, ..Hold::default() };
    Entry { absence, hold, adapters: vec!["tone".into()], ..Entry::sample("n", "m", ports) }
}

fn loading() -> Entry {
    entry(Absence::expected(), &[])
}

fn asleep() -> Entry {
    entry(Absence::Asleep, &[])
}

fn ready() -> Entry {
    entry(Absence::expected(), &[1])
}

fn holding(entry: Entry, hold: Hold) -> Entry {
    Entry { hold, ..entry }
}

struct Bed {
    directory: Directory,
    holding: Arc<Holding>,
    fake: FakeScale,
    metrics: GatewayMetrics,
    shutdown: Shutdown,
}

type Held = JoinHandle<Result<Lease, NoPlace>>;

impl Bed {
    fn new(entry: Entry) -> Self {
        Self::with(entry, &[])
    }

    fn with(entry: Entry, mishaps: &[Mishap]) -> Self {
        let directory = Directory::from_entries(vec![entry]);
        let metrics = GatewayMetrics::register(&mut Registry::default());
        let (fake, shutdown) = (FakeScale::with(mishaps), Shutdown::new());
        let wakes = Wakes::new(fake.waker(), metrics.clone());
        let limits = Limits::default();
        let holding =
            Holding::new(directory.clone(), Some(wakes), &limits, metrics.clone(), shutdown.clone());
        Self { directory, holding: Arc::new(holding), fake, metrics, shutdown }
    }

    fn target(&self, name: &str) -> Arc<Target> {
        Arc::clone(self.directory.snapshot().get(&format!("n/{name}")).expect("known"))
    }

    async fn hold(&self) -> Result<Lease, NoPlace> {
        self.hold_until(Instant::now() + TOTAL).await
    }

    /// Why it finds no place.
    async fn refused(&self) -> Failure {
        failure(self.hold().await)
    }

    async fn hold_until(&self, ends: Instant) -> Result<Lease, NoPlace> {
        self.holding.hold(Waiter { target: &self.target("m"), bytes: 10, ends }).await
    }

    /// A request that waits, in a task of its own.
    async fn waiting(&self, name: &str) -> Held {
        let (holding, target) = (Arc::clone(&self.holding), self.target(name));
        let before = self.waiters();
        let ends = Instant::now() + TOTAL;
        let held =
            tokio::spawn(async move { holding.hold(Waiter { target: &target, bytes: 10, ends }).await });
        while self.waiters() == before {
            yield_now().await;
        }
        held
    }

    fn waiters(&self) -> i64 {
        self.metrics.held_requests.get_or_create(&self.target("m").labels).get()
    }

    fn ended(&self, end: HoldEnd) -> u64 {
        let model = self.target("m").labels.clone();
        self.metrics.holds.get_or_create(&HoldLabels { model, end }).get()
    }
}

fn failure(held: Result<Lease, NoPlace>) -> Failure {
    match held.expect_err("nothing to go to") {
        NoPlace::Refused(failure) | NoPlace::Changed(failure) => failure,
    }
}

fn code(held: Result<Lease, NoPlace>) -> String {
    failure(held).code.expect("ours have one")
}

#[tokio::test(start_paused = true)]
async fn requests_are_let_go_in_the_order_in_which_they_came() {
    let bed = Bed::new(loading());
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut held = Vec::new();
    for number in 0..20 {
        let (waiting, order) = (bed.waiting("m").await, Arc::clone(&order));
        held.push(tokio::spawn(async move {
            let lease = waiting.await.expect("no panic").expect("an endpoint came");
            order.lock().expect("no panic").push(number);
            lease
        }));
    }
    // Nothing that happens to others, and no endpoint of others, lets them go.
    bed.directory.replace(vec![loading(), Entry { name: "other".into(), ..ready() }]);
    tokio::time::sleep(MAX_WAIT / 2).await;
    assert_eq!((bed.waiters(), order.lock().expect("no panic").len()), (20, 0));
    bed.directory.replace(vec![ready()]);
    let leases = futures::future::join_all(held).await;
    assert_eq!(*order.lock().expect("no panic"), (0..20).collect::<Vec<_>>());
    assert_eq!((bed.target("m").endpoints[0].in_flight(), bed.waiters()), (20, 0));
    assert_eq!((bed.ended(HoldEnd::released), leases.len()), (20, 20));
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_as_long_as_it_may_and_hears_why_and_how_long() {
    let bed = Bed::new(entry(Absence::Expected("its image can't be pulled".into()), &[]));
    let began = Instant::now();
    let failure = bed.refused().await;
    assert_eq!(began.elapsed(), MAX_WAIT);
    assert_eq!((failure.class, failure.retry_after_seconds), (FailureClass::Overloaded, Some(SOON_SECONDS)));
    assert_eq!(failure.code.as_deref(), Some("model_not_ready"));
    for said in ["`n/m`", "its image can't be pulled", "waited 120 s"] {
        assert!(failure.message.contains(said), "{}", failure.message);
    }
    // Whatever its own time is, the request's is over.
    let began = Instant::now();
    assert_eq!(code(bed.hold_until(began + MAX_WAIT / 4).await), "model_not_ready");
    assert_eq!(began.elapsed(), MAX_WAIT / 4);
    assert_eq!((bed.ended(HoldEnd::timed_out), bed.waiters()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_where_the_model_says_so() {
    for hold in [
        Hold { max_wait: TimeSpan::seconds(0), ..Hold::default() },
        Hold { max_queued: 0, ..Hold::default() },
    ] {
        let bed = Bed::new(holding(loading(), hold));
        let began = Instant::now();
        let failure = bed.refused().await;
        assert_eq!((failure.code.as_deref(), began.elapsed()), (Some("model_not_ready"), Duration::ZERO));
        assert!(failure.retry_after_seconds.is_some() && !failure.message.contains("waited"), "{failure:?}");
        // It is woken all the same.
        let bed = Bed::new(holding(asleep(), hold));
        assert_eq!(code(bed.hold().await), "model_not_ready");
        while bed.fake.writes() == 0 {
            yield_now().await;
        }
        assert_eq!(bed.fake.replicas(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_full_refuses_at_once_and_who_leaves_frees_a_place() {
    let bed = Bed::new(holding(loading(), Hold { max_queued: 2, ..Hold::default() }));
    let (first, second) = (bed.waiting("m").await, bed.waiting("m:tone").await);
    let began = Instant::now();
    let failure = bed.refused().await;
    assert_eq!((failure.code.as_deref(), began.elapsed()), (Some("hold_full"), Duration::ZERO));
    assert!(failure.retry_after_seconds.is_some());
    assert_eq!((bed.ended(HoldEnd::full), bed.waiters()), (1, 2));
    first.abort();
    assert!(first.await.is_err());
    assert_eq!((bed.ended(HoldEnd::left), bed.waiters()), (1, 1));
    let third = bed.waiting("m").await;
    bed.directory.replace(vec![ready()]);
    for held in [second, third] {
        held.await.expect("no panic").expect("the head of the line left, and the rest goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_bytes_wait_than_a_model_lets_and_each_gateway_takes_its_share() {
    // Each who waits here has ten.
    let bed = Bed::new(holding(loading(), Hold { max_bytes: ByteSize::bytes(40), ..Hold::default() }));
    bed.directory.set_gateways(2);
    let _held = [bed.waiting("m").await, bed.waiting("m").await];
    assert_eq!(code(bed.hold().await), "hold_full");
    bed.directory.set_gateways(1);
    let _more = bed.waiting("m").await;
    assert_eq!(bed.waiters(), 3);
}

#[tokio::test(start_paused = true)]
async fn each_gateway_takes_its_share() {
    let bed = Bed::new(holding(loading(), Hold { max_queued: 7, ..Hold::default() }));
    bed.directory.set_gateways(3);
    let _held = [bed.waiting("m").await, bed.waiting("m").await];
    assert_eq!(code(bed.hold().await), "hold_full");
    bed.directory.set_gateways(2);
    let _more = bed.waiting("m").await;
    assert_eq!(code(bed.hold().await), "hold_full");
    assert_eq!(bed.waiters(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_ends_keeps_nobody() {
    let bed = Bed::new(loading());
    let held = [bed.waiting("m").await, bed.waiting("m").await];
    let began = Instant::now();
    bed.shutdown.drain();
    for held in held {
        let failure = failure(held.await.expect("no panic"));
        assert_eq!(failure.code.as_deref(), Some("gateway_draining"));
        assert_eq!(failure.retry_after_seconds, Some(ELSEWHERE_SECONDS));
    }
    assert_eq!(code(bed.hold().await), "gateway_draining");
    assert_eq!((began.elapsed(), bed.ended(HoldEnd::draining)), (Duration::ZERO, 3));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_what_is_not_to_come() {
    let refused = entry(Absence::lasting("model_not_accepted", "its spec is refused"), &[]);
    let bed = Bed::new(refused.clone());
    let began = Instant::now();
    let failure = bed.refused().await;
    assert_eq!((failure.code.as_deref(), began.elapsed()), (Some("model_not_accepted"), Duration::ZERO));
    assert!(failure.message.contains("its spec is refused"), "{}", failure.message);
    assert_eq!(failure.retry_after_seconds, Some(LASTING_SECONDS));
    // Nor does anybody go on to.
    let other = Entry { upstream_model: "another".into(), ..ready() };
    let cases = [
        (vec![refused], "model_not_accepted", HoldEnd::refused),
        (vec![], "model_not_found", HoldEnd::refused),
        (vec![other], "model_changed", HoldEnd::changed),
    ];
    for (entries, expected, end) in cases {
        let bed = Bed::new(loading());
        let held = [bed.waiting("m").await, bed.waiting("m").await];
        let labels = bed.target("m").labels.clone();
        bed.directory.replace(entries);
        for held in held {
            assert_eq!(code(held.await.expect("no panic")), expected);
        }
        let ended = bed.metrics.holds.get_or_create(&HoldLabels { model: labels, end }).get();
        assert_eq!(ended, 2, "{expected}");
    }
}

/// The rest would be refused by an engine whose own queue is full.
#[tokio::test(start_paused = true)]
async fn no_more_are_let_go_at_once_than_an_engine_takes() {
    let bed = Bed::new(loading());
    bed.directory.set_gateways(2);
    let mut held = std::collections::VecDeque::new();
    for _ in 0..LET_GO {
        held.push_back(bed.waiting("m").await);
    }
    bed.directory.replace(vec![ready()]);
    let mut leases = std::collections::VecDeque::new();
    while leases.len() < LET_GO / 2 {
        let next = held.pop_front().expect("there are more");
        leases.push_back(next.await.expect("no panic").expect("let go"));
    }
    tokio::time::sleep(MAX_WAIT / 2).await;
    assert_eq!(bed.waiters() as usize, LET_GO / 2);
    // One ends, the next one goes; another replica takes the rest.
    leases.pop_front();
    let next = held.pop_front().expect("there are more");
    leases.push_back(next.await.expect("no panic").expect("let go"));
    bed.directory.replace(vec![entry(Absence::expected(), &[1, 2])]);
    for held in held {
        leases.push_back(held.await.expect("no panic").expect("let go"));
    }
    assert_eq!(bed.waiters(), 0);
}

#[tokio::test(start_paused = true)]
async fn those_that_find_no_room_hear_so() {
    let bed = Bed::new(ready());
    let taken: Vec<_> = (0..LET_GO).map(|_| Lease::take(Arc::clone(&bed.target("m").endpoints[0]))).collect();
    let failure = bed.refused().await;
    assert!(failure.message.contains("as many requests as they take"), "{}", failure.message);
    drop(taken);
    bed.hold().await.expect("room");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_that_wait_wake_their_model_with_one_write() {
    let bed = Bed::new(asleep());
    let mut held = Vec::new();
    for number in 0..1000 {
        held.push(bed.waiting(if number % 2 == 0 { "m" } else { "m:tone" }).await);
    }
    while bed.fake.writes() == 0 {
        yield_now().await;
    }
    // The one that woke it leaves; the watch brings the number, and later the endpoint.
    held.remove(0).abort();
    bed.directory.replace(vec![loading()]);
    tokio::time::sleep(MAX_WAIT / 2).await;
    assert_eq!((bed.fake.replicas(), bed.fake.writes(), bed.fake.calls().len()), (1, 1, 2));
    bed.directory.set_gateways(1);
    bed.directory.replace(vec![entry(Absence::expected(), &[1, 2, 3, 4])]);
    for held in &mut held {
        held.await.expect("no panic").expect("an endpoint came");
    }
    assert_eq!((bed.fake.writes(), bed.ended(HoldEnd::released), bed.ended(HoldEnd::left)), (1, 999, 1));
}

#[tokio::test(start_paused = true)]
async fn a_model_that_sleeps_again_is_woken_again() {
    let bed = Bed::new(asleep());
    let held = bed.waiting("m").await;
    while bed.fake.writes() == 0 {
        yield_now().await;
    }
    // Somebody takes it back before the watch showed it: it never showed anything but 0.
    bed.fake.set_replicas(0);
    while bed.fake.writes() == 1 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(bed.fake.replicas(), 1);
    bed.directory.replace(vec![ready()]);
    held.await.expect("no panic").expect("an endpoint came");
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_for_a_model_that_cannot_be_woken_hear_why() {
    let bed = Bed::with(asleep(), &[Mishap::Silence, Mishap::Status(403)]);
    let held = [bed.waiting("m").await, bed.waiting("m").await];
    for held in held {
        let failure = failure(held.await.expect("no panic"));
        assert_eq!(failure.code.as_deref(), Some("wake_failed"));
        assert!(failure.message.contains("not allowed to scale it"), "{}", failure.message);
        assert_eq!(failure.retry_after_seconds, Some(SOON_SECONDS));
    }
    assert_eq!(code(bed.hold().await), "wake_failed");
    assert_eq!(
        (bed.fake.calls().len(), bed.ended(HoldEnd::refused)),
        (2, 2),
        "at once, and nobody is asked again"
    );
}

#[tokio::test(start_paused = true)]
async fn where_nobody_can_wake_a_model_nobody_waits_for_it() {
    let mut bed = Bed::new(asleep());
    let (directory, metrics) = (bed.directory.clone(), bed.metrics.clone());
    let holding = Holding::new(directory, None, &Limits::default(), metrics, bed.shutdown.clone());
    bed.holding = Arc::new(holding);
    assert_eq!(code(bed.hold().await), "model_out_of_service");
}
