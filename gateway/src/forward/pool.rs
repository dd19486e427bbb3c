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
            self.pool.keep(self.destination, connection);
        }
    }
}

/// A connection to send a request on.
pub(super) enum Link {
    /// For one request at a time.
    Http1(Box<Connection>),
    /// For any number, driven by a task of its own.
    Http2(http2::SendRequest<Pieces>),
}

/// The unused connections of one client. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// By age, the latest last.
    http1: HashMap<Destination, VecDeque<(Instant, Box<Connection>)>>,
    /// With the time of its last use.
    http2: HashMap<Destination, (Instant, http2::SendRequest<Pieces>)>,
    /// Whether a task ends what has grown old.
    swept: bool,
}

impl Pool {
    /// A connection to `destination` that is open as far as anyone here knows; the latest used is the likeliest.
    pub(super) fn take(&self, destination: &Destination) -> Option<Link> {
        if let Some(shared) = self.shared(destination) {
            return Some(Link::Http2(shared));
        }
        loop {
            let (_, mut latest) = self.kept().http1.get_mut(destination)?.pop_back()?;
            if latest.is_free() {
                return Some(Link::Http1(latest));
            }
        }
    }

    fn shared(&self, destination: &Destination) -> Option<http2::SendRequest<Pieces>> {
        let mut kept = self.kept();
        let (used, sender) = kept.http2.get_mut(destination)?;
        if sender.is_closed() {
            kept.http2.remove(destination);
            return None;
        }
        *used = Instant::now();
        Some(sender.clone())
    }

    /// Keeps a connection whose request is done.
    fn keep(&self, destination: Destination, connection: Box<Connection>) {
        let mut kept = self.kept();
        self.sweep_from_now_on(&mut kept);
        let unused = kept.http1.entry(destination).or_default();
        if unused.len() == MOST {
            unused.pop_front();
        }
        unused.push_back((Instant::now(), connection));
    }

    /// Lets every request to `destination` use `sender`, unless they have one.
    pub(super) fn share(&self, destination: Destination, sender: http2::SendRequest<Pieces>) {
        let mut kept = self.kept();
        self.sweep_from_now_on(&mut kept);
        let (_, shared) = kept.http2.entry(destination).or_insert_with(|| (Instant::now(), sender.clone()));
        if shared.is_closed() {
            *shared = sender;
        }
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

    /// Takes out what is old at `now`.
    fn old(&self, now: Instant) -> Vec<Box<Connection>> {
        let is_old = |since: &Instant| now.saturating_duration_since(*since) >= UNUSED;
        let mut kept = self.kept();
        let mut old = Vec::new();
        for unused in kept.http1.values_mut() {
            let young = unused.partition_point(|(since, _)| is_old(since));
            old.extend(unused.drain(..young).map(|(_, connection)| connection));
        }
        kept.http1.retain(|_, unused| !unused.is_empty());
        kept.http2.retain(|_, (used, sender)| !is_old(used) && !sender.is_closed());
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
