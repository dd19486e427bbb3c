#!/bin/sh
# Makes (once) the virtual environment in which transformers answers for every model family, and prints
# its python. Beside it lies llama.cpp's own converter to GGUF, out of the same source package as the peers'
# llama.cpp. For `run.sh`; `make test` never comes here.
#
#   PY=$(tests/peers/families/install.sh)
#
# About 2.6 GB to download and 4.6 GB of disk, nearly all of it torch and the CUDA libraries without which
# PyPI's torch for Linux does not import. The folder's name is made of everything that decides what is in it.
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
PYTHON=${PYTHON:-python3}
CACHE=${WEIGHBRIDGE_CACHE:-${HOME:?HOME is not set: set WEIGHBRIDGE_CACHE}/.cache/weighbridge}/oracles
CONVERTER=llama-cpp-python==0.3.36
CONVERTER_SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e

say() { echo "oracles: $*" >&2; }
command -v "$PYTHON" >/dev/null 2>&1 || { say "$PYTHON not found: install Python 3.11 or newer"; exit 1; }

KEY=$("$PYTHON" - "$CONVERTER_SHA256" "$HERE/requirements.txt" <<'PY'
import hashlib, platform, sys
h = hashlib.sha256(open(sys.argv[2], "rb").read())
h.update(f"{sys.argv[1]} {sys.version} {sys.base_prefix} {platform.machine()}".encode())
print(h.hexdigest()[:16])
PY
)
VENV=$CACHE/venv-$KEY
if [ -e "$VENV/.complete" ] && "$VENV/bin/python" -c '' 2>/dev/null; then
    echo "$VENV/bin/python"
    exit 0
fi

mkdir -p "$CACHE"
# mkdir is an atomic lock everywhere, flock isn't on macOS; a lock whose owner died is taken over.
LOCK=$CACHE/.lock-$KEY
until mkdir "$LOCK" 2>/dev/null; do
    OWNER=$(cat "$LOCK/pid" 2>/dev/null || echo)
    if [ -n "$OWNER" ] && ! kill -0 "$OWNER" 2>/dev/null; then
        rm -rf "$LOCK"
        continue
    fi
    sleep 1
done
echo $$ >"$LOCK/pid"
trap 'rm -rf "$LOCK"' EXIT
trap 'exit 130' HUP INT TERM
if [ ! -e "$VENV/.complete" ]; then
    rm -rf "$VENV"
    "$PYTHON" -m venv "$VENV" >&2 || { say "$PYTHON can't make a venv (Debian: install python3-venv)"; exit 1; }
    PIP="$VENV/bin/python -m pip --disable-pip-version-check"
    say "installing torch and transformers (2.6 GB)"
    # No cache: it would hold the wheels a second time.
    $PIP install --quiet --no-cache-dir --only-binary :all: --no-deps -r "$HERE/requirements.txt" >&2
    say "fetching llama.cpp's converter"
    # Only unpacked, never built: pip still makes the build environment that the package asks for to read its metadata.
    echo "$CONVERTER --hash=sha256:$CONVERTER_SHA256" >"$LOCK/source.txt"
    $PIP download --quiet --no-cache-dir --no-deps --no-binary :all: --require-hashes -d "$LOCK" -r "$LOCK/source.txt" >&2
    mkdir "$VENV/llama.cpp"
    tar -xzf "$LOCK"/llama_cpp_python-*.tar.gz -C "$VENV/llama.cpp" --strip-components=3 \
        "$(basename "$LOCK"/llama_cpp_python-*.tar.gz .tar.gz)/vendor/llama.cpp/conversion" \
        "$(basename "$LOCK"/llama_cpp_python-*.tar.gz .tar.gz)/vendor/llama.cpp/gguf-py"
    touch "$VENV/.complete"
fi
echo "$VENV/bin/python"
