//! The thread that follows the cluster.
//!
//! Where calls go must be known in time however many requests wait for a turn. On the threads that serve, a change of an
//! endpoint takes several turns, each behind every request that is ready to run: a gateway short of CPU would go on calling
//! pods that left long ago.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// A thread with a runtime of its own. Dropping it ends what runs there.
pub(crate) struct WatchThread(Option<Runtime>);

impl WatchThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where there can't be another thread.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("watches").enable_all().build();
        Ok(Self(Some(runtime?)))
    }

    /// A client of the cluster, whose connections are driven by this thread.
    ///
    /// # Errors
    /// Where `config` can't be used.
    pub(crate) fn client(&self, config: kube::Config) -> Result<kube::Client, kube::Error> {
        let _within = self.0.as_ref().map(Runtime::enter);
        kube::Client::try_from(config)
    }

    /// Runs `follow` there.
    pub(crate) fn run(&self, follow: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.0 {
            runtime.spawn(follow);
        }
    }
}

impl Drop for WatchThread {
    fn drop(&mut self) {
        // Where futures run, a runtime can't be waited for.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// What drives a client's requests was started where the client was made.
    #[tokio::test]
    async fn its_client_asks_while_the_threads_that_serve_are_taken() {
        let watches = WatchThread::start().expect("a thread");
        let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", server.local_addr().expect("an address"));
        let client = watches.client(kube::Config::new(url.parse().expect("a URL"))).expect("a client");
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || tell.send(server.accept().is_ok()));
        watches.run(async move { drop(client.apiserver_version().await) });
        assert!(told.recv_timeout(Duration::from_secs(60)).expect("somebody calls"), "a connection");
    }

    #[tokio::test]
    async fn it_moves_on_while_the_threads_that_serve_are_taken() {
        let watches = WatchThread::start().expect("a thread");
        let (tell, told) = mpsc::channel();
        watches.run(async move {
            tokio::task::yield_now().await;
            tell.send(()).expect("somebody waits");
        });
        // It keeps the one thread of this test's runtime to itself.
        told.recv_timeout(Duration::from_secs(60)).expect("it has a thread of its own");
    }

    #[tokio::test]
    async fn what_runs_there_ends_with_it() {
        let watches = WatchThread::start().expect("a thread");
        let (held, ended) = tokio::sync::oneshot::channel::<()>();
        watches.run(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        drop(watches);
        let ended = tokio::time::timeout(Duration::from_secs(60), ended).await.expect("it ends");
        ended.expect_err("nobody holds it any more");
    }
}
