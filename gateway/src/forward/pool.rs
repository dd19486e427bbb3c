//! Connections kept for the next request.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::uri::{Authority, Scheme};
use http::{HeaderValue, Uri};
use hyper::client::conn::http2;

use super::Pieces;
use super::connection::Connection;

/// How long an unused connection is kept. Shorter than the servers' own limit (ours: 30 s), so that the
/// client closes first and no request meets a connection that is just being closed.
const UNUSED: Duration = Duration::from_secs(15);
/// Unused connections kept for one endpoint: as many as it answers at once, and no heap of them.
const MOST: usize = 256;
/// Requests that one connection of HTTP/2 carries at once. Servers take as many at least (RFC 9113, section 6.5.2), and
/// what is more waits in the client, unseen and uncounted.
pub(super) const STREAMS: usize = 100;
/// How old a connection gets that is always in use: what a handshake was made with, a certificate or an address, may have
/// been replaced since. One in ten minutes costs nothing.
const OLDEST: Duration = Duration::from_secs(600);

/// Where a connection leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Destination {
    pub scheme: Scheme,
    pub authority: Authority,
}

impl Destination {
    /// That of `uri`, if it names one.
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        Some(Self { scheme: uri.scheme()?.clone(), authority: uri.authority()?.clone() })
    }

    /// What its requests say in `host`: a port only where it is not the scheme's own.
    pub(super) fn host(&self) -> HeaderValue {
        let host = self.authority.host();
        let own = if self.scheme == Scheme::HTTPS { 443 } else { 80 };
        let said = match self.authority.port_u16().filter(|port| *port != own) {
            Some(port) => HeaderValue::try_from(format!("{host}:{port}")),
            None => HeaderValue::from_str(host),
        };
        // The host of a URL has no character that a header can't have.
        said.unwrap_or(HeaderValue::from_static(""))
    }
}

/// Where a connection is kept when its request is done.
pub(super) struct Home {
    pub pool: Pool,
    pub destination: Destination,
}

impl Home {
    /// Keeps `connection` if it can take another request.
    pub(super) fn keep(self, mut connection: Box<Connection>) {
        if connection.is_free() {
            self.pool.keep(self.destination, connection, Instant::now());
        }
    }
}

/// A connection to send a request on.
pub(super) enum Link {
    /// For one request at a time.
    Http1(Box<Connection>),
    /// For several, driven by a task of its own.
    Http2(http2::SendRequest<Pieces>, Carried),
}

/// One request's place in a connection of HTTP/2, as long as it lasts.
#[derive(Clone, Debug, Default)]
pub(super) struct Carried(Arc<()>);

/// The unused connections of one client. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// Each with the time of its last use, the latest last.
    http1: HashMap<Destination, VecDeque<(Instant, Box<Connection>)>>,
    http2: HashMap<Destination, Vec<Shared>>,
    /// Whether a task ends what nobody uses.
    swept: bool,
}

/// A connection of HTTP/2.
struct Shared {
    sender: http2::SendRequest<Pieces>,
    /// Shared with the requests that it carries.
    carried: Carried,
    opened: Instant,
    used: Instant,
}

impl Shared {
    fn new(sender: http2::SendRequest<Pieces>, carried: Carried) -> Self {
        let now = Instant::now();
        Self { sender, carried, opened: now, used: now }
    }

    /// Whether it can carry one request more.
    fn has_room(&self) -> bool {
        // One of the clones is this.
        Arc::strong_count(&self.carried.0) <= STREAMS
    }

    /// Whether new requests may use it. Those that it carries already are not cut.
    fn is_open(&self, now: Instant) -> bool {
        !self.sender.is_closed() && !is_past(self.opened, OLDEST, now)
    }
}

fn is_past(since: Instant, time: Duration, now: Instant) -> bool {
    now.saturating_duration_since(since) >= time
}

impl Pool {
    /// A connection to `destination` that is open as far as anyone here knows; the latest used is the likeliest.
    pub(super) fn take(&self, destination: &Destination, now: Instant) -> Option<Link> {
        if let Some(shared) = self.shared(destination, now) {
            return Some(shared);
        }
        loop {
            let (used, mut latest) = self.kept().http1.get_mut(destination)?.pop_back()?;
            if !is_past(used, UNUSED, now) && latest.is_free() {
                return Some(Link::Http1(latest));
            }
        }
    }

    /// The first that has room: those behind it become unused, and end, when there is less to carry.
    fn shared(&self, destination: &Destination, now: Instant) -> Option<Link> {
        let mut kept = self.kept();
        let all = kept.http2.get_mut(destination)?;
        all.retain(|shared| shared.is_open(now));
        let shared = all.iter_mut().find(|shared| shared.has_room())?;
        shared.used = now;
        Some(Link::Http2(shared.sender.clone(), shared.carried.clone()))
    }

    /// Keeps a connection whose request is done, unless it is old.
    fn keep(&self, destination: Destination, connection: Box<Connection>, now: Instant) {
        if is_past(connection.opened, OLDEST, now) {
            return;
        }
        let mut kept = self.kept();
        self.sweep_from_now_on(&mut kept);
        let unused = kept.http1.entry(destination).or_default();
        let first = (unused.len() == MOST).then(|| unused.pop_front());
        unused.push_back((now, connection));
        drop(kept);
        // Closed outside of the lock.
        drop(first);
    }

    /// Lets every request to `destination` use `sender`, unless there is room in another. The place is its opener's.
    pub(super) fn share(&self, destination: Destination, sender: http2::SendRequest<Pieces>) -> Carried {
        let carried = Carried::default();
        let mut kept = self.kept();
        self.sweep_from_now_on(&mut kept);
        let new = Shared::new(sender, carried.clone());
        let all = kept.http2.entry(destination).or_default();
        if !all.iter().any(|shared| shared.is_open(new.opened) && shared.has_room()) {
            all.push(new);
        }
        carried
    }

    /// Ends what nobody has used for a while: endpoints go away, and so would nobody else.
    fn sweep_from_now_on(&self, kept: &mut Kept) {
        if std::mem::replace(&mut kept.swept, true) {
            return;
        }
        let pool = Arc::downgrade(&self.0);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(UNUSED / 3).await;
                let Some(pool) = pool.upgrade() else { return };
                let old = Self(pool).old(Instant::now());
                // Closed outside of the lock.
                drop(old);
            }
        });
    }

    /// Takes out what nobody has used for too long at `now`.
    fn old(&self, now: Instant) -> Vec<(Instant, Box<Connection>)> {
        let mut kept = self.kept();
        let mut old = Vec::new();
        for unused in kept.http1.values_mut() {
            let young = unused.partition_point(|(used, _)| is_past(*used, UNUSED, now));
            old.extend(unused.drain(..young));
        }
        kept.http1.retain(|_, unused| !unused.is_empty());
        kept.http2.retain(|_, all| {
            all.retain(|shared| shared.is_open(now) && !is_past(shared.used, UNUSED, now));
            !all.is_empty()
        });
        old
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Whoever panicked left whole connections behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
