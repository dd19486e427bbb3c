//! What runs inside the inference server's image can load a shared library: the way in for a GPU's driver.

use std::path::Path;
use std::process::Command;

/// The script that people and the demo run too, on an image made of the program that this build made.
#[test]
fn a_stand_in_driver_library_loads_inside_the_inference_servers_image() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let test = std::env::current_exe().unwrap();
    let binaries = test.ancestors().nth(2).unwrap();
    let program = binaries.join("weighbridge-inference-server");
    assert!(program.is_file(), "{} is not built: `make test` builds it first", program.display());
    // Its own folder: the release images may be in use by a cluster.
    let folder = binaries.join("../images-of-tests");
    let run = |script: &str, arguments: &[&str]| {
        let output = Command::new(root.join(script))
            .args(arguments)
            .env("WEIGHBRIDGE_IMAGES", &folder)
            .output()
            .unwrap_or_else(|error| panic!("{script}: {error}"));
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script} failed ({}): {words}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    run("tests/install-packages.sh", &["images"]);
    run("images/build.sh", &["--binaries", binaries.to_str().unwrap(), "inference-server"]);
    let said = run("images/check-dlopen.sh", &[]);
    assert!(said.contains("loads inside images.weighbridge.local/inference-server"), "{said}");
}
