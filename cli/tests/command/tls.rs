//! `up` and `chat` over TLS.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::chat::chat;
use crate::process::{Up, err, out, run, weighbridge};

/// A folder with a model of random weights, its YAML, and a certificate of this machine.
struct Bed {
    folder: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model.gguf");
        let made = run(&["synth", "--matrices", "f32", "--output", model.to_str().unwrap()]);
        assert!(made.status.success(), "{}", err(&made));
        let object = format!(
            "apiVersion: serving.weighbridge.dev/v1alpha1\nkind: ModelDeployment\nmetadata: {{ name: m }}\n\
             spec: {{ openWeights: {{ source: 'file://{}' }} }}\n",
            model.display()
        );
        std::fs::write(folder.path().join("model.yaml"), object).unwrap();
        let made =
            rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        std::fs::write(folder.path().join("tls.crt"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn up(&self, cert: &Path, key: &Path) -> Output {
        let yaml = self.file("model.yaml");
        let mut command = weighbridge();
        command.args(["up", "--listen", "127.0.0.1:0", "-f"]).arg(yaml);
        command.arg("--tls-cert-file").arg(cert).arg("--tls-key-file").arg(key).output().unwrap()
    }
}

/// One question, whose answer is two tokens long.
fn ask(url: &str, more: &[&str]) -> Output {
    chat(&[&["m", "--max-tokens", "2", "--url", url], more].concat(), "hello\n")
}

#[test]
fn the_door_speaks_tls_and_chat_is_told_whom_to_trust() {
    let bed = Bed::new();
    let [cert, key] = ["tls.crt", "tls.key"].map(|name| bed.file(name).to_str().unwrap().to_owned());
    let up = Up::start(&bed.file("model.yaml"), &["--tls-cert-file", &cert, "--tls-key-file", &key], &[]);
    let url = format!("https://{}", up.door);
    assert!(up.banner.contains(&format!("Weighbridge serves at {url}/v1")), "{}", up.banner);
    let answered = ask(&url, &["--ca-file", &cert]);
    assert!(answered.status.success(), "{}", err(&answered));
    assert!(!out(&answered).trim().is_empty());
    let refused = ask(&url, &[]);
    assert!(!refused.status.success() && err(&refused).contains("--ca-file"), "{}", err(&refused));
    assert_eq!(up.get("/v1/models").status, 400, "plain http is told that it is plain");
    let refused = ask(&url, &["--ca-file", &key]);
    assert!(err(&refused).contains("it holds no certificate in PEM"), "{}", err(&refused));
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_by_its_flag_before_anything_starts() {
    let bed = Bed::new();
    let (cert, key) = (bed.file("tls.crt"), bed.file("tls.key"));
    let flat = bed.file("flat.key");
    std::fs::write(&flat, std::fs::read_to_string(&key).unwrap().replace('\n', "")).unwrap();
    let missing = bed.file("missing");
    for (cert, key, said) in [
        (&missing, &key, "--tls-cert-file"),
        (&cert, &missing, "--tls-key-file"),
        (&key, &key, "it holds no certificate in PEM"),
        (&cert, &flat, "it holds no private key in PEM"),
    ] {
        let ended = bed.up(cert, key);
        let words = err(&ended);
        assert!(!ended.status.success() && words.contains(said), "{said}: {words}");
        assert!(!words.contains("MIG"), "{words}");
    }
    let yaml = bed.file("model.yaml");
    let ended = run(&["up", "-f", yaml.to_str().unwrap(), "--tls-cert-file", cert.to_str().unwrap()]);
    assert!(err(&ended).contains("--tls-key-file"), "{}", err(&ended));
}
