#!/bin/sh
# Puts NVRTC 13.0, NVIDIA's compiler library, into the cache and prints its folder. It needs no GPU and no driver.
#
#   LD_LIBRARY_PATH=$(tests/cuda/nvrtc.sh) kernels --out ...       # needs python3 with pip, nothing else
#
# The package is fetched through pip as you have configured it (mirror, proxy, offline packages), checked against the
# digest below, and only unpacked. The libraries are NVIDIA's, under its CUDA licence: nothing here passes them on.
#   ${WEIGHBRIDGE_CACHE:-$HOME/.cache/weighbridge}/nvrtc-VERSION/
set -eu

VERSION=13.0.88
case $(uname -m) in
x86_64) PLATFORM=manylinux2010_x86_64 WHEEL_SHA256=ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575 ;;
aarch64) PLATFORM=manylinux2014_aarch64 WHEEL_SHA256=d27f20a0ca67a4bb34268a5e951033496c5b74870b868bacd046b1b8e0c3267b ;;
*) echo "nvrtc: there is no NVRTC for $(uname -m)" >&2 && exit 1 ;;
esac

PYTHON=${PYTHON:-python3}
CACHE=${WEIGHBRIDGE_CACHE:-${HOME:?HOME is not set: set WEIGHBRIDGE_CACHE}/.cache/weighbridge}
TARGET=$CACHE/nvrtc-$VERSION

say() { echo "nvrtc: $*" >&2; }
die() { say "$*"; exit 1; }

# Written last: a folder with it is whole.
if [ -e "$TARGET/WHEEL_SHA256" ] && [ "$(cat "$TARGET/WHEEL_SHA256")" = "$WHEEL_SHA256" ]; then
    echo "$TARGET"
    exit 0
fi

command -v "$PYTHON" >/dev/null 2>&1 || die "$PYTHON not found: install Python 3 (with pip), or set PYTHON"
"$PYTHON" -m pip --version >/dev/null 2>&1 || die "$PYTHON has no pip: install it (Debian: python3-pip)"
mkdir -p "$CACHE"
# Beside the target, so that the last step is a rename inside one file system.
SCRATCH=$(mktemp -d "$CACHE/.fetch-XXXXXX")
trap 'rm -rf "$SCRATCH"' EXIT
trap 'exit 130' HUP INT TERM

echo "nvidia-cuda-nvrtc==$VERSION --hash=sha256:$WHEEL_SHA256" >"$SCRATCH/requirements.txt"
say "downloading nvidia-cuda-nvrtc $VERSION (90 MB) with pip"
"$PYTHON" -m pip download --quiet --no-deps --no-cache-dir --only-binary :all: --platform "$PLATFORM" --require-hashes \
    --disable-pip-version-check --dest "$SCRATCH" -r "$SCRATCH/requirements.txt" >&2 ||
    die "pip could not download nvidia-cuda-nvrtc $VERSION: it needs a package index, or a folder of packages (PIP_FIND_LINKS)"
"$PYTHON" - "$SCRATCH" <<'PY' || die "the package is not as expected: nothing was kept"
import glob, os, sys, zipfile
scratch, = sys.argv[1:]
wheel, = glob.glob(os.path.join(scratch, "*.whl"))
os.mkdir(os.path.join(scratch, "nvrtc"))
with zipfile.ZipFile(wheel) as archive:
    libraries = [name for name in archive.namelist() if ".so." in name and ".alt." not in name]
    if len(libraries) != 2:
        sys.exit(f"{wheel} has {libraries}")
    for name in libraries:
        with open(os.path.join(scratch, "nvrtc", os.path.basename(name)), "wb") as target:
            target.write(archive.read(name))
PY
chmod -R u=rwX,go=rX "$SCRATCH/nvrtc"
echo "$WHEEL_SHA256" >"$SCRATCH/nvrtc/WHEEL_SHA256"
[ ! -e "$TARGET" ] || mv "$TARGET" "$SCRATCH/damaged"
mv "$SCRATCH/nvrtc" "$TARGET" 2>/dev/null || [ -e "$TARGET/WHEEL_SHA256" ] || die "$TARGET can't be written"
echo "$TARGET"
