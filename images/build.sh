#!/usr/bin/env bash
# Builds the container images and puts each, as an OCI archive, into target/images/NAME.tar.
#
#   images/build.sh                                compile (release), then build what changed
#   images/build.sh --binaries FOLDER [NAME…]      take weighbridge-NAME from FOLDER instead of compiling
#
# WEIGHBRIDGE_IMAGES names another folder for the archives and all that goes into them.
#
# An image whose inputs are as they were is left alone, so a second run costs what cargo's look costs.
# Needs buildah, and root (its chroot isolation works where there is no container runtime at all).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
source "$here/lib.sh"

binaries=
# Code for GPUs, of the kernels in this checkout.
kernels=${WEIGHBRIDGE_KERNELS:-$PWD/target/kernels}
names=(operator gateway inference-server)
case ${1:-} in
--binaries)
    binaries=${2:?--binaries needs a folder}
    (($# == 2)) || names=("${@:3}")
    ;;
"") ;;
*) echo "usage: images/build.sh [--binaries FOLDER [NAME…]]" >&2 && exit 2 ;;
esac
if [[ -z $binaries ]]; then
    cargo build --release --locked -p weighbridge-operator -p weighbridge-gateway -p weighbridge-inference-server \
        --bin weighbridge-operator --bin weighbridge-gateway --bin weighbridge-inference-server
    cargo build --release --locked -p weighbridge-cuda --bin kernels
    binaries=$(cargo metadata --locked --no-deps --format-version 1 |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/release
    # A pack that is there and of these sources is taken as it is.
    LD_LIBRARY_PATH=$(tests/cuda/nvrtc.sh) "$binaries/kernels" --out "$kernels" \
        --budget inference-server/cuda/kernels.budget >"$kernels.log" || { cat "$kernels.log" >&2; exit 1; }
fi

mkdir -p "$out"
# Two builds in one checkout would write the same files; the second waits and finds the work done.
exec 9>"$out/.lock"
flock 9

# Libraries of the base image: what Rust programs are linked against, and the stubs that a GPU driver's
# library still names although glibc 2.34 moved their content into libc.
libraries=(libc.so.6 libm.so.6 libgcc_s.so.1 libdl.so.2 libpthread.so.0 librt.so.1)

stage_base() {
    local root=$1/rootfs folder library loader
    folder=$root/lib/$(gcc -print-multiarch)
    install -d -m 755 "$root/etc" "$folder"
    install -d -m 1777 "$root/tmp"
    for library in "${libraries[@]}"; do
        install -m 755 "$(readlink -f "$(gcc -print-file-name="$library")")" "$folder/$library"
    done
    # The loader, where every dynamic program of this machine says it is.
    loader=$(interpreter_of "$(command -v bash)")
    install -D -m 755 "$(readlink -f "$loader")" "$root$loader"
    echo 'nonroot:x:65532:65532:nonroot:/nonexistent:/sbin/nologin' >"$root/etc/passwd"
    echo 'nonroot:x:65532:' >"$root/etc/group"
    # Without it glibc asks services that aren't here before it asks the cluster's DNS.
    echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
    chmod 644 "$root"/etc/*
}

stage_program() {
    local context=$1 program=weighbridge-$2 library
    [[ -f $binaries/$program ]] || { echo "images: $binaries/$program is not there" >&2; exit 1; }
    install -D -m 755 "$binaries/$program" "$context/$program"
    if [[ $program == weighbridge-inference-server ]]; then
        [[ -f $kernels/manifest.json ]] || { echo "images: $kernels is no pack of kernels: run make kernels" >&2; exit 1; }
        mkdir "$context/kernels"
        cp -R "$kernels/." "$context/kernels/"
        chmod -R u=rwX,go=rX "$context/kernels"
    fi
    while read -r library; do
        # The loader itself is named by some programs; it is in the image as their interpreter.
        [[ " ${libraries[*]} " == *" $library "* || $library == ld-linux* ]] && continue
        echo "images: $program needs $library, which the base image doesn't have" >&2
        exit 1
    done < <(needed_by "$context/$program")
}

# build NAME: from its staged folder, unless the archive was made from the very same inputs.
build() {
    local name=$1 context=$out/context/$1 tag inputs
    tag=$(image_of "$name")
    inputs=$( (cat "$here/$name/Containerfile"; echo "$tag ${base_inputs:-}"
        tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$context" -c .) | sha256sum)
    [[ $name == base ]] && base_inputs=$inputs
    if made "$name" && [[ $(cat "$out/$name.inputs" 2>/dev/null) == "$inputs" ]]; then
        echo "images: $tag is up to date"
        return
    fi
    rm -f "$out/$name.inputs"
    # A fixed time makes the same inputs the same image, digest and all.
    buildah_here bud --quiet --isolation chroot --timestamp 0 --build-arg "BASE=$(image_of base)" \
        --pull-never --file "$here/$name/Containerfile" --tag "$tag" "$context" >/dev/null
    if [[ $name != base ]]; then
        rm -f "$out/.$name.tar"
        buildah_here push --quiet "$tag" "oci-archive:$out/.$name.tar:$tag"
        mv "$out/.$name.tar" "$out/$name.tar"
    fi
    echo "$inputs" >"$out/$name.inputs"
    echo "images: built $tag"
}

# The base is only built upon, so it stays in the storage; the others are archives for a node.
made() {
    if [[ $1 == base ]]; then
        [[ -n $(buildah_here images --quiet "$(image_of base)" 2>/dev/null) ]]
    else
        [[ -f $out/$1.tar ]]
    fi
}

rm -rf "$out/context"
stage_base "$out/context/base"
build base
for name in "${names[@]}"; do
    stage_program "$out/context/$name" "$name"
    build "$name"
done
# Nothing refers to the layers of earlier builds any more.
buildah_here rmi --prune --force >/dev/null 2>&1 || true
