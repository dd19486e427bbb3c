#!/usr/bin/env bash
# Says before a long build that there is no Go, or too old a one, for the programs of tests/control-plane.
set -euo pipefail
cd "$(dirname "$0")/control-plane"

needed=$(sed -nE 's/^go ([0-9]+\.[0-9]+).*/\1/p' go.mod)
fix="install Go $needed or newer, from https://go.dev/dl"
if ! command -v go >/dev/null; then
    echo "the testbed's Kubernetes is built with Go, and there is none: $fix" >&2
    exit 1
fi
# Asked here, for a Go that fetches the version that go.mod names is new enough.
found=$(go env GOVERSION 2>/dev/null || true)
found=${found##*go}
if [[ $(printf '%s\n' "$needed" "${found:-0}" | sort -V | head -n 1) != "$needed" ]]; then
    echo "the testbed's Kubernetes is built with Go $needed or newer, and this is $(cd / && go version): $fix" >&2
    exit 1
fi
