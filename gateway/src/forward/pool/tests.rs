use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;

use super::*;

fn destination() -> Destination {
    Destination::of(&Uri::from_static("http://127.0.0.1:8000/")).expect("a server")
}

/// A connection, and its other end.
async fn open() -> (Box<Connection>, DuplexStream) {
    let (near, far) = tokio::io::duplex(64);
    (Box::new(Connection::open(TokioIo::new(near)).await.expect("open")), far)
}

/// A pool with `count` connections last used at `now`, and their other ends.
async fn with(count: usize, now: Instant) -> (Pool, Vec<DuplexStream>) {
    let (pool, mut ends) = (Pool::default(), Vec::new());
    for _ in 0..count {
        let (connection, far) = open().await;
        pool.keep(destination(), connection, now);
        ends.push(far);
    }
    (pool, ends)
}

/// How many can be taken at `now`.
fn taken(pool: &Pool, now: Instant) -> usize {
    let destination = destination();
    std::iter::from_fn(|| pool.take(&destination, now)).count()
}

#[tokio::test]
async fn a_connection_waits_for_its_own_destination_alone() {
    let now = Instant::now();
    let (pool, _ends) = with(1, now).await;
    for other in ["http://127.0.0.1:8001/", "https://127.0.0.1:8000/", "http://127.0.0.2:8000/"] {
        let other = Destination::of(&Uri::from_static(other)).expect("a server");
        assert!(pool.take(&other, now).is_none());
    }
    assert_eq!(taken(&pool, now), 1);
}

#[tokio::test]
async fn what_is_kept_is_bounded() {
    let now = Instant::now();
    let (pool, _ends) = with(MOST + 3, now).await;
    assert_eq!(taken(&pool, now), MOST);
}

/// The server closes about then, too, and a request is not to meet that.
#[tokio::test]
async fn a_connection_that_nobody_used_for_long_is_not_taken() {
    let now = Instant::now();
    let (pool, _ends) = with(2, now).await;
    assert_eq!(taken(&pool, now + UNUSED), 0);
}

#[tokio::test]
async fn what_nobody_uses_is_ended() {
    let now = Instant::now();
    let (pool, mut ends) = with(1, now).await;
    let (young, far) = open().await;
    pool.keep(destination(), young, now + UNUSED / 2);
    ends.push(far);
    assert_eq!(pool.old(now).len(), 0);
    assert_eq!(pool.old(now + UNUSED).len(), 1);
    assert_eq!(taken(&pool, now + UNUSED), 1);
    assert!(pool.kept().http1.values().all(VecDeque::is_empty));
    pool.old(now + UNUSED);
    assert!(pool.kept().http1.is_empty(), "of endpoints that went away nothing stays");
}

/// So that a certificate that was replaced is in use for a bounded time.
#[tokio::test]
async fn a_connection_that_is_always_in_use_is_old_one_day() {
    let (pool, (young, _far), (old, _other)) = (Pool::default(), open().await, open().await);
    let opened = young.opened;
    pool.keep(destination(), young, opened + OLDEST / 2);
    assert_eq!(taken(&pool, opened + OLDEST / 2), 1);
    let opened = old.opened;
    pool.keep(destination(), old, opened + OLDEST);
    assert_eq!(taken(&pool, opened + OLDEST), 0);
}
