//! Proxies between us and a server, and the connector that goes through them.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;
use url::Url;

/// Which servers are reached through which proxy. Prints neither user nor password.
#[derive(Clone, Default)]
pub struct Proxies(Option<Arc<Matcher>>);

/// A proxy that can't be used. Its address may hold a password, and is not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no proxy that is served: write http://host:port")]
pub struct InvalidProxy(&'static str);

impl Proxies {
    /// `https` for servers with TLS and `http` for those without, but for the servers in `no`: names with all under them,
    /// addresses and ranges, separated by commas. What is empty is absent.
    ///
    /// # Errors
    /// A proxy that is no `http://host:port`.
    pub fn new(https: &str, http: &str, no: &str) -> Result<Self, InvalidProxy> {
        for (name, proxy) in [("HTTPS_PROXY", https), ("HTTP_PROXY", http)] {
            // `host:port` alone is taken as everywhere else.
            let address = if proxy.contains("://") { proxy.to_owned() } else { format!("http://{proxy}") };
            let fits = Url::parse(&address).is_ok_and(|url| url.scheme() == "http" && url.has_host());
            if !proxy.is_empty() && !fits {
                return Err(InvalidProxy(name));
            }
        }
        if https.is_empty() && http.is_empty() {
            return Ok(Self(None));
        }
        Ok(Self(Some(Arc::new(Matcher::builder().https(https).http(http).no(no).build()))))
    }

    /// As `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` say, in either case; `ALL_PROXY` stands in for the first two.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_environment() -> Result<Self, InvalidProxy> {
        let read = |names: [&str; 2]| {
            let values = names.into_iter().filter_map(|name| std::env::var(name).ok());
            values.map(|value| value.trim().to_owned()).find(|value| !value.is_empty())
        };
        let all = read(["ALL_PROXY", "all_proxy"]);
        let or_all = |value: Option<String>| value.or_else(|| all.clone()).unwrap_or_default();
        Self::new(
            &or_all(read(["HTTPS_PROXY", "https_proxy"])),
            &or_all(read(["HTTP_PROXY", "http_proxy"])),
            &read(["NO_PROXY", "no_proxy"]).unwrap_or_default(),
        )
    }

    /// What a request to `url` shows the proxy that reads it; tunnels show it themselves.
    pub(super) fn authorization(&self, url: &Url) -> Option<HeaderValue> {
        let uri: Uri = url.as_str().parse().ok().filter(|_| url.scheme() == "http")?;
        self.0.as_ref()?.intercept(&uri)?.basic_auth().cloned()
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The matcher's own form leaves users and passwords out.
        self.0.fmt(f)
    }
}

/// Connects to a server, or to the proxy before it.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    proxies: Proxies,
}

impl Connector {
    pub(super) fn new(tcp: HttpConnector, proxies: Proxies) -> Self {
        Self { tcp, proxies }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Stream, Failure>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let through = self.proxies.0.as_ref().and_then(|proxies| proxies.intercept(&to));
        let Some(proxy) = through else {
            let connecting = self.tcp.call(to);
            return Box::pin(async move { Ok(Stream { inner: connecting.await?, is_forwarded: false }) });
        };
        if to.scheme_str() == Some("https") {
            let mut tunnel = Tunnel::new(proxy.uri().clone(), self.tcp.clone());
            if let Some(authorization) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(authorization.clone());
            }
            let connecting = tunnel.call(to);
            return Box::pin(async move { Ok(Stream { inner: connecting.await?, is_forwarded: false }) });
        }
        let connecting = self.tcp.call(proxy.uri().clone());
        Box::pin(async move { Ok(Stream { inner: connecting.await?, is_forwarded: true }) })
    }
}

/// A connection, and whether a proxy reads the requests on it.
pub(super) struct Stream {
    inner: TokioIo<TcpStream>,
    is_forwarded: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.inner.connected().proxy(self.is_forwarded)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_an_http_address_and_what_it_is_shown_is_not_printed() {
        let proxies = Proxies::new("http://u:canary@proxy:3128", "proxy:3128", ".svc, 10.0.0.0/8").unwrap();
        assert!(!format!("{proxies:?}").contains("canary"), "{proxies:?}");
        assert!(Proxies::new("", "", "").unwrap().0.is_none());
        for bad in ["https://proxy:3128", "socks5://proxy:1080", "http://", "ftp://proxy", "http://a b"] {
            let error = Proxies::new(bad, "", "").unwrap_err();
            assert!(error.to_string().starts_with("HTTPS_PROXY is no proxy"), "{bad}: {error}");
        }
        assert!(Proxies::new("", "socks4://canary@x", "").unwrap_err().to_string().starts_with("HTTP_PROXY"));
    }
}
