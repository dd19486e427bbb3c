//! A running `weighbridge`, and the sample that it serves.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;

use rustix::process::{Pid, Signal, kill_process};

pub const SAMPLE: &str = "smollm2-135m-instruct-q4_1.gguf";
pub const SAMPLE_DIGEST: &str = "sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// A command that sees nothing of the machine that could change what it does.
pub fn weighbridge() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weighbridge"));
    command
        .env_remove("HF_TOKEN")
        .env_remove("RUST_LOG")
        .env_remove("WEIGHBRIDGE_API_KEY")
        .stdin(Stdio::null());
    command
}

/// Runs to the end.
pub fn run(arguments: &[&str]) -> Output {
    weighbridge().args(arguments).output().unwrap()
}

pub fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// The folder with the sample's weights.
pub fn models() -> PathBuf {
    let cache = std::env::var_os("WEIGHBRIDGE_CACHE").map(PathBuf::from);
    let home = || Path::new(&std::env::var_os("HOME").unwrap()).join(".cache/weighbridge");
    let folder = cache.unwrap_or_else(home).join("models");
    assert!(folder.join(SAMPLE).is_file(), "no {} in {}: run make sample", SAMPLE, folder.display());
    folder
}

/// `--claim` for the sample.
pub fn claim() -> String {
    format!("models={}", models().display())
}

/// A `weighbridge up` that serves. Killed when dropped.
pub struct Up {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Lines of stderr, taken by a thread: a full pipe would stop the process.
    stderr: mpsc::Receiver<String>,
    heard: String,
    /// `HOST:PORT` of the door.
    pub door: String,
    /// What was printed when everything answered.
    pub banner: String,
}

impl Up {
    /// Starts `up -f FILE` with further arguments, on a free port of loopback where they say no other.
    pub fn start(file: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let anywhere = if arguments.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] };
        let mut child = weighbridge()
            .arg("up")
            .args(anywhere)
            .arg("-f")
            .arg(file)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = lines(child.stderr.take().unwrap());
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut banner = String::new();
        while !banner.contains("Ctrl-C lets") {
            if stdout.read_line(&mut banner).unwrap() == 0 {
                panic!("up ended: {}", stderr.iter().collect::<String>());
            }
        }
        let door = banner.split("://").nth(1).unwrap().split('/').next().unwrap().to_owned();
        Self { child, stdout, stderr, heard: String::new(), door, banner }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.door)
    }

    pub fn post(&self, path: &str, body: &str) -> Reply {
        call(&self.door, &format!("POST {path}"), "", body)
    }

    pub fn get(&self, path: &str) -> Reply {
        call(&self.door, &format!("GET {path}"), "", "")
    }

    /// Sends `what`, a method and a path, with an API key.
    pub fn with_key(&self, key: &str, what: &str, body: &str) -> Reply {
        call(&self.door, what, &format!("authorization: Bearer {key}\r\n"), body)
    }

    pub fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
    }

    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Waits until a line of stderr holds `words`.
    pub fn hear(&mut self, words: &str) {
        while !self.heard.contains(words) {
            match self.stderr.recv() {
                Ok(line) => self.heard.push_str(&line),
                Err(_) => panic!("ended without saying {words:?}: {}", self.heard),
            }
        }
    }

    /// Waits for the end; exit code and everything that was printed since the banner.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let mut said = std::mem::take(&mut self.heard);
        self.stdout.read_to_string(&mut said).unwrap();
        said.extend(self.stderr.iter());
        (self.child.wait().unwrap().code(), said)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stream: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line + "\n").is_err() {
                return;
            }
        }
    });
    receiver
}

/// An answer as it comes.
pub struct Reply {
    pub status: u16,
    pub headers: String,
    body: BufReader<TcpStream>,
}

impl Reply {
    /// The next line of the body; empty at its end.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.body.read_line(&mut line).unwrap();
        line
    }

    /// What still comes, whole or cut.
    pub fn rest(mut self) -> String {
        let mut bytes = Vec::new();
        let _ = self.body.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub fn text(mut self) -> String {
        let mut text = String::new();
        self.body.read_to_string(&mut text).unwrap();
        text
    }
}

/// One request, by a connection of its own.
pub fn call(door: &str, what: &str, headers: &str, body: &str) -> Reply {
    let mut stream = TcpStream::connect(door).unwrap();
    write!(
        stream,
        "{what} HTTP/1.1\r\nhost: {door}\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut body = BufReader::new(stream);
    let mut headers = String::new();
    while !headers.ends_with("\r\n\r\n") {
        assert!(body.read_line(&mut headers).unwrap() > 0, "the connection broke: {headers}");
    }
    let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, headers: headers.to_lowercase(), body }
}
