# The one interface: `make run` and `make test` do all set-up on a fresh machine.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export WEIGHBRIDGE_CACHE ?= $(HOME)/.cache/weighbridge
CARGO ?= cargo
B ?= cpu-decode

.PHONY: help run test lint generate check-generated sample peers bench images cluster-up cluster-demo cluster-down deny \
	test-setup control-plane clients

help: ## What there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

run: sample ## Serve the sample model on this machine and print a curl line
	$(CARGO) build --release --locked -p weighbridge
	target/release/weighbridge up -f examples/smollm2.yaml --claim models=$(WEIGHBRIDGE_CACHE)/models

sample: ## Fetch the sample weights once: pinned, checked, kept outside the repository
	@examples/fetch-smollm2.sh

test: lint test-setup ## Everything: lints, units, goldens, real clients, the real control plane
	$(CARGO) build --locked --workspace --all-targets
	# The program itself, not `cargo run -p`: one package alone is another set of features, and a second build.
	$${CARGO_TARGET_DIR:-target}/debug/testbed run -- $(CARGO) test --locked --workspace

test-setup: sample control-plane clients

control-plane:
	@tests/install-packages.sh
	@tests/control-plane/build.sh

clients:
	@tests/clients/install.sh

lint: check-generated
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@for crate in crds wire; do $(CARGO) check -q --locked -p weighbridge-$$crate; done

generate: ## Write the CRD manifests and the chart's copies and golden files anew
	$(CARGO) run -q -p weighbridge-crds --bin crdgen
	@charts/generate.sh

check-generated:
	$(CARGO) run -q --locked -p weighbridge-crds --bin crdgen -- --check
	@charts/generate.sh --check

peers: sample ## Make the goldens anew with the living peers and compare
	@tests/peers/run.sh

bench: ## Run one benchmark: make bench B=cpu-decode
	@tests/bench.sh $(B)

images: ## Build the container images as OCI archives
	@images/build.sh

cluster-up: control-plane images ## A whole cluster on this machine: control plane, kubelet, containerd
	$(CARGO) run -q --release -p weighbridge-tests --bin testbed -- up

cluster-demo: ## Helm install, two worlds behind one URL, dashboards' queries against a real Prometheus
	@tests/demo/demo.sh

cluster-down: ## Stop it and leave nothing behind
	$(CARGO) run -q --release -p weighbridge-tests --bin testbed -- down

deny: ## Licences, sources and duplicate versions of every dependency
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny@0.20.2
	$(CARGO) deny check bans licenses sources
