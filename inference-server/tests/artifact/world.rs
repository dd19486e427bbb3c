//! One cache folder, one hub, and a clock that only writes down what it was asked to wait.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use tempfile::TempDir;
use weighbridge_inference_server::artifact::{
    Artifact, ArtifactError, ArtifactRequest, Clock, FetchSettings, Progress, ProgressSink, Resolver, Token,
};

use crate::hub::Hub;

/// Waits for nothing and remembers how long it should have been.
#[derive(Clone, Default)]
pub struct NoWaiting(Arc<Mutex<Vec<Duration>>>);

impl NoWaiting {
    pub fn waits(&self) -> Vec<Duration> {
        self.0.lock().unwrap().clone()
    }
}

impl Clock for NoWaiting {
    fn pause(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.0.lock().unwrap().push(duration);
        Box::pin(tokio::task::yield_now())
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }
}

pub struct World {
    pub cache: TempDir,
    pub clock: NoWaiting,
    pub settings: FetchSettings,
    pub progress: Arc<Mutex<Vec<Progress>>>,
}

impl World {
    pub fn new() -> Self {
        let settings =
            FetchSettings { range_bytes: 1000, parallel: 3, attempts: 4, ..FetchSettings::default() };
        let cache = tempfile::tempdir().unwrap();
        Self { cache, clock: NoWaiting::default(), settings, progress: Arc::default() }
    }

    pub fn request(&self, hub: &Hub) -> ArtifactRequest {
        let source = "hf://org/repo/folder/model.gguf".parse().unwrap();
        let mut request = ArtifactRequest::new(source, self.cache.path().to_owned());
        request.hub.endpoint = Some(hub.url());
        request
    }

    pub fn pinned(&self, hub: &Hub, digest: &str) -> ArtifactRequest {
        ArtifactRequest { digest: Some(digest.parse().unwrap()), ..self.request(hub) }
    }

    pub fn with_token(&self, hub: &Hub) -> ArtifactRequest {
        let mut request = self.request(hub);
        request.hub.token = Some(Token::new("hf_canary_4711").unwrap());
        request
    }

    pub fn resolver(&self) -> Resolver {
        Resolver::new(self.settings.clone(), Arc::new(self.clock.clone()))
    }

    pub async fn resolve(&self, request: ArtifactRequest) -> Result<Artifact, ArtifactError> {
        let resolver = self.resolver();
        let told = Arc::clone(&self.progress);
        let sink: ProgressSink = Arc::new(move |progress| told.lock().unwrap().push(progress));
        resolver.resolve(request, sink).await
    }

    /// Every file under the cache folder, by path.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.cache.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else {
                    found.push(entry.path().strip_prefix(self.cache.path()).unwrap().display().to_string());
                }
            }
        }
        found.sort();
        found
    }

    pub fn has_blob(&self) -> bool {
        self.files().iter().any(|file| file.starts_with("blobs/"))
    }
}

/// Bytes that differ everywhere, so that a misplaced range shows.
pub fn content(length: usize, salt: u64) -> Vec<u8> {
    let mut state = salt.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}
