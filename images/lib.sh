# What the scripts of this folder share. Sourced with the repository's root as working directory.
# shellcheck shell=bash disable=SC2034

out=${WEIGHBRIDGE_IMAGES:-$PWD/target/images}
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)

# A host with dots: a bare name would be looked for in a public registry.
image_of() { echo "images.weighbridge.local/$1:$version"; }

# Storage of our own, so that nothing of this machine's is touched and `cargo clean` takes it along.
buildah_here() {
    local command=$1
    shift
    buildah --storage-driver vfs --root "$out/storage" --runroot "$out/run" "$command" "$@"
}

# The program's interpreter, and the libraries that it names.
interpreter_of() { readelf --wide --program-headers "$1" | sed -n 's/.*interpreter: \(.*\)\]$/\1/p'; }
needed_by() { readelf --wide --dynamic "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p'; }
