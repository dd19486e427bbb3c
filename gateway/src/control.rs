//! The thread beside those that serve: it follows the cluster and answers probes.
//!
//! Where calls go must be known in time, and a gateway that is busy is ready all the same, however many requests wait for a turn.
//! On the threads that serve, a change of an endpoint takes several turns, each behind every request that is ready to run: a
//! gateway short of CPU would go on calling pods that left long ago, and all of them would be taken out of service at once.

use std::io;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// A thread with a runtime of its own. Dropping it ends what runs there.
#[derive(Debug)]
pub(crate) struct ControlThread {
    handle: Handle,
    /// There until the drop.
    runtime: Option<Runtime>,
}

impl ControlThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where there can't be another thread.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("control").enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// A client of the cluster, whose connections are driven by this thread.
    ///
    /// # Errors
    /// Where `config` can't be used.
    pub(crate) fn client(&self, config: kube::Config) -> Result<kube::Client, kube::Error> {
        let _within = self.handle.enter();
        kube::Client::try_from(config)
    }

    /// `listener`, whose connections are seen by this thread.
    ///
    /// # Errors
    /// Where the socket can't be handed over.
    pub(crate) fn adopt(&self, listener: TcpListener) -> io::Result<TcpListener> {
        let listener = listener.into_std()?;
        let _within = self.handle.enter();
        TcpListener::from_std(listener)
    }

    /// Runs `task` there.
    pub(crate) fn run(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.handle.spawn(task)
    }
}

impl Drop for ControlThread {
    fn drop(&mut self) {
        // Where futures run, a runtime can't be waited for.
        if let Some(runtime) = self.runtime.take() {
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
        let control = ControlThread::start().expect("a thread");
        let server = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", server.local_addr().expect("an address"));
        let client = control.client(kube::Config::new(url.parse().expect("a URL"))).expect("a client");
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || tell.send(server.accept().is_ok()));
        control.run(async move { drop(client.apiserver_version().await) });
        assert!(told.recv_timeout(Duration::from_secs(60)).expect("somebody calls"), "a connection");
    }

    #[tokio::test]
    async fn it_moves_on_while_the_threads_that_serve_are_taken() {
        let control = ControlThread::start().expect("a thread");
        let (tell, told) = mpsc::channel();
        control.run(async move {
            tokio::task::yield_now().await;
            tell.send(()).expect("somebody waits");
        });
        // It keeps the one thread of this test's runtime to itself.
        told.recv_timeout(Duration::from_secs(60)).expect("it has a thread of its own");
    }

    #[tokio::test]
    async fn what_runs_there_ends_with_it() {
        let control = ControlThread::start().expect("a thread");
        let (held, ended) = tokio::sync::oneshot::channel::<()>();
        control.run(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        drop(control);
        let ended = tokio::time::timeout(Duration::from_secs(60), ended).await.expect("it ends");
        ended.expect_err("nobody holds it any more");
    }
}
