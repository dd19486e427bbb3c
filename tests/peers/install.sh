#!/bin/sh
# Makes (once) the virtual environment with the pinned peers, above all llama.cpp built for this
# CPU, and prints its python. For `make peers` and the benchmarks; `make test` never comes here.
#
#   PY=$(tests/peers/install.sh)
#
# llama.cpp is compiled from the source package: five to fifteen minutes on two cores, once. It needs
# a C++ compiler and CMake. The folder's name is made of everything that decides what is in it
# (requirements, flags, Python, CPU), so a cache that moves to another machine is built anew there
# instead of dying of an illegal instruction.
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
PYTHON=${PYTHON:-python3}
CACHE=${WEIGHBRIDGE_CACHE:-${HOME:?HOME is not set: set WEIGHBRIDGE_CACHE}/.cache/weighbridge}/peers

# Native code, because that is what a person who cares for speed would run, and a ratio against a
# crippled peer is worth nothing. No image support: it is a third of the build and no test uses it.
FLAGS='-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF'
SDIST_SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e

say() { echo "peers: $*" >&2; }
command -v "$PYTHON" >/dev/null 2>&1 || { say "$PYTHON not found: install Python 3.10 or newer"; exit 1; }

KEY=$("$PYTHON" - "$FLAGS" "$HERE/requirements.txt" "$HERE/gcc_amx.h" <<'PY'
import hashlib, platform, sys
h = hashlib.sha256(b"".join(open(path, "rb").read() for path in sys.argv[2:]))
cpu = platform.machine()
try:
    with open("/proc/cpuinfo") as f:
        cpu += next(("".join(sorted(line.split(":", 1)[1].split())) for line in f if line.lower().startswith(("flags", "features"))), "")
except OSError:
    pass
h.update(f"{sys.argv[1]} {sys.version} {sys.base_prefix} {cpu}".encode())
print(h.hexdigest()[:16])
PY
)
VENV=$CACHE/venv-$KEY
if [ -e "$VENV/.complete" ] && "$VENV/bin/python" -c '' 2>/dev/null; then
    echo "$VENV/bin/python"
    exit 0
fi

for tool in cmake c++; do
    command -v $tool >/dev/null 2>&1 || { say "$tool not found: llama.cpp is built from source (Debian: cmake g++)"; exit 1; }
done
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
    say "installing what needs no compiler"
    grep -v '^llama' "$HERE/requirements.txt" >"$LOCK/wheels.txt"
    $PIP install --quiet --only-binary :all: --no-deps -r "$LOCK/wheels.txt" >&2
    say "building llama.cpp for this CPU (5 to 15 minutes; log: $CACHE/build-$KEY.log)"
    # A requirement with a digest makes pip refuse any other source than the one the goldens came from.
    echo "$(grep '^llama' "$HERE/requirements.txt") --hash=sha256:$SDIST_SHA256" >"$LOCK/source.txt"
    # No cache: pip keeps the wheels that it built, whatever flags, compiler fixes or CPU they were built for.
    CXXFLAGS="${CXXFLAGS:-} -include \"$HERE/gcc_amx.h\"" CMAKE_ARGS=$FLAGS $PIP install --verbose --no-cache-dir \
        --no-binary llama-cpp-python --no-deps --require-hashes -r "$LOCK/source.txt" >"$CACHE/build-$KEY.log" 2>&1 || {
        tail -n 30 "$CACHE/build-$KEY.log" >&2
        say "the build failed; the whole log is $CACHE/build-$KEY.log"
        exit 1
    }
    touch "$VENV/.complete"
fi
echo "$VENV/bin/python"
