//! Compiles every kernel as C++ for this machine.

use std::path::{Path, PathBuf};

fn main() {
    let kernels = PathBuf::from("../kernels");
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").opt_level(2).define("WEIGHBRIDGE_EMULATED", None);
    build.include("src").include(&kernels);
    // Fibers are switched with `_longjmp` to other stacks, which the fortified one takes for an error.
    build.flag("-U_FORTIFY_SOURCE").flag("-Wno-unknown-pragmas").flag("-fno-strict-aliasing");
    // A vector load at an address that is no multiple of its size is a fault on a card.
    build.flag("-fsanitize=alignment");
    build
        .flag_if_supported("-fsanitize-undefined-trap-on-error")
        .flag_if_supported("-fsanitize-trap=alignment");
    build.file("src/emulator.cpp");
    for path in sources(&kernels, "cu") {
        build.file(shell(&path));
    }
    // Kernels announce themselves: nothing refers to them.
    build.link_lib_modifier("+whole-archive").compile("emulated_kernels");
    for path in sources(&kernels, "cu").into_iter().chain(sources(&kernels, "cuh")) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    println!("cargo::rerun-if-changed=src/emulator.cpp");
    println!("cargo::rerun-if-changed=src/emulator.hpp");
}

/// Files of `folder` that end so, by name.
fn sources(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|found| found == end));
    paths.sort();
    paths
}

/// A C++ file that is `source`: compilers go by the end of a name.
fn shell(source: &Path) -> PathBuf {
    let name = source.file_stem().unwrap_or_default().to_string_lossy();
    let path = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join(format!("{name}.cpp"));
    let file = source.file_name().unwrap_or_default().to_string_lossy();
    // Kernels' names are their file's alone, as they are when each is compiled for a card.
    let text = format!("#include \"emulator.hpp\"\nnamespace {{\n#include \"{file}\"\n}}\n");
    if let Err(error) = std::fs::write(&path, text) {
        println!("cargo::error={}: {error}", path.display());
    }
    path
}
