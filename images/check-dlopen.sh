#!/usr/bin/env bash
# Shows that programs inside the inference server's image can load a shared library at run time, which is
# how the CUDA driver gets in. A static program, or a base without the C library, fails here.
#
#   images/check-dlopen.sh                after images/build.sh
#
# The stand-in library names the same libraries as the driver's does. It is loaded twice, in the very archive
# that a node gets: by a small program with dlopen, and by the loader into the inference server itself.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
source "$here/lib.sh"

archive=$out/inference-server.tar
[[ -f $archive ]] || { echo "check-dlopen: $archive is not there: run images/build.sh" >&2; exit 1; }

work=$(mktemp -d)
container=
clean() {
    [[ -z $container ]] || buildah_here rm "$container" >/dev/null
    rm -rf "$work"
}
trap clean EXIT

cat >"$work/standin.c" <<'C'
#include <unistd.h>
__attribute__((constructor)) static void loaded(void) {
    static const char word[] = "stand-in loaded\n";
    if (write(1, word, sizeof word - 1) < 0) _exit(3);
}
int cuDriverGetVersion(int *version) { *version = 12080; return 0; }
C
cat >"$work/load.c" <<'C'
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **arguments) {
    void *library = dlopen(count > 1 ? arguments[1] : "", RTLD_NOW | RTLD_LOCAL);
    if (!library) return fprintf(stderr, "%s\n", dlerror()), 1;
    int (*get_version)(int *) = (int (*)(int *))dlsym(library, "cuDriverGetVersion");
    int version = 0;
    if (!get_version || get_version(&version)) return fprintf(stderr, "no symbol\n"), 1;
    return printf("driver %d\n", version) < 0;
}
C
# By file name: since glibc 2.34 there is nothing to link against, and the driver was linked before.
stubs=()
for library in libm.so.6 libdl.so.2 libpthread.so.0 librt.so.1; do stubs+=("$(gcc -print-file-name="$library")"); done
gcc -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$work/libcuda.so.1" "$work/standin.c" -Wl,--no-as-needed "${stubs[@]}"
gcc -o "$work/load" "$work/load.c"
for library in "${stubs[@]##*/}"; do
    needed_by "$work/libcuda.so.1" | grep -qx "$library" || { echo "check-dlopen: the stand-in lacks $library" >&2; exit 1; }
done

container=$(buildah_here from --quiet --pull-never "oci-archive:$archive")
root=$(buildah_here mount "$container")

program=$root/weighbridge-inference-server
loader=$(interpreter_of "$program")
[[ -n $loader && -x $root$loader ]] || { echo "check-dlopen: the program's loader '$loader' is not in the image" >&2; exit 1; }
for library in $(needed_by "$program"); do
    [[ -n $(find "$root" -name "$library" -print -quit) ]] || { echo "check-dlopen: $library is not in the image" >&2; exit 1; }
done

# Where the driver's libraries are mounted by NVIDIA's runtime: a folder of the loader's default path.
install -m 755 "$work/libcuda.so.1" "$root/lib/$(gcc -print-multiarch)/libcuda.so.1"
install -m 755 "$work/load" "$root/load"
# Plain chroot: buildah's own `run` now and then loses what a short program says.
inside() { env -i "$(command -v chroot)" --userspec=65532:65532 "$root" "$@"; }

said=$(inside /load libcuda.so.1)
[[ $said == $'stand-in loaded\ndriver 12080' ]] || { echo "check-dlopen: dlopen said: $said" >&2; exit 1; }
said=$(inside "$loader" --preload libcuda.so.1 /weighbridge-inference-server --help)
[[ $said == 'stand-in loaded'* ]] || { echo "check-dlopen: the inference server did not load the stand-in" >&2; exit 1; }
echo "check-dlopen: a stand-in libcuda.so.1 loads inside $(image_of inference-server)"
