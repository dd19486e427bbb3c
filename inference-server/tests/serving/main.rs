//! The serving half on the real sample model: its text against llama.cpp's and transformers' goldens, its
//! answers through the whole server over HTTP.
//!
//! These tests need the sample file: without it they fail and say how to get it.
#![allow(clippy::unwrap_used, clippy::panic)] // A golden or model that cannot be read fails the test.

mod encoder;
mod folder;
mod inspect;
mod process;
mod running;
mod server;
mod text;

use std::path::{Path, PathBuf};

/// What `make sample` fetched.
fn fetched(name: &str) -> PathBuf {
    let cache = std::env::var_os("WEIGHBRIDGE_CACHE")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/weighbridge"));
    let path = cache.join("models").join(name);
    assert!(path.exists(), "run make sample: {} is not there", path.display());
    path
}

fn sample() -> PathBuf {
    fetched("smollm2-135m-instruct-q4_1.gguf")
}

/// A tiny model of `tests/goldens/families`, in a folder as the hub keeps them.
fn family(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/families").join(name)
}

fn golden_bytes(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/smollm2").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn golden(name: &str) -> serde_json::Value {
    serde_json::from_slice(&golden_bytes(name)).unwrap()
}
