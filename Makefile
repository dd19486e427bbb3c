# The one interface: `make run` and `make test` do all set-up on a fresh machine. What each target needs, and how long
# it takes the first time, is in docs/install.md.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export WEIGHBRIDGE_CACHE ?= $(HOME)/.cache/weighbridge
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
TESTBED := $(TARGET)/debug/testbed
B ?=
# Of `make run`: the door, where its metrics are (empty: nowhere), and any other flag of `weighbridge up`; of `make sweep`: its flags.
LISTEN ?= 127.0.0.1:8080
METRICS ?= 127.0.0.1:9090
ARGS ?=
# Of `make fuzz`: a target of fuzz/, and for how long.
T ?= gguf
SECONDS ?= 60
# Of `make cluster-demo`: what is shown in place of the whole tour. An outage lasts SECONDS, ten minutes where none are given.
S ?=
AWAY := $(if $(filter file,$(origin SECONDS)),600,$(SECONDS))

.PHONY: help run install test test-arm lint fuzz generate check-generated sample peers bench images cluster-up cluster-demo cluster-env \
	cluster-down deny test-setup control-plane clients vocabularies image-packages node-packages testbed compilers kernels \
	kernels-budget gpu-programs gpu-check sweep

help: ## What there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

run: ## Serve the sample model: LISTEN=8081 METRICS=9091 ARGS='--drain-timeout 5'
	@command -v $(CARGO) >/dev/null || { echo "Weighbridge is built with Rust: install rustup, from https://rustup.rs" >&2; exit 1; }
	@tests/check-listen.py LISTEN='$(LISTEN)' METRICS='$(METRICS)' -- $(ARGS)
	@examples/fetch-smollm2.sh >/dev/null
	$(CARGO) build --release --locked -p weighbridge
	$(TARGET)/release/weighbridge up -f examples/smollm2.yaml --claim models=$(WEIGHBRIDGE_CACHE)/models \
		--listen $(LISTEN) $(if $(METRICS),--metrics-listen $(METRICS)) $(ARGS)

install: ## Put `weighbridge` where cargo puts programs: ~/.cargo/bin
	$(CARGO) install --locked --path cli

sample: ## Fetch the sample weights once: pinned, checked, kept outside the repository
	@examples/fetch-smollm2.sh
	@examples/fetch-minilm.sh

test: lint test-setup kernels ## Everything: lints, units, goldens, real clients, the real control plane, every kernel compiled
	$(CARGO) build --locked --workspace --all-targets
	# The program itself, not `cargo run -p`: one package alone is another set of features, and a second build.
	$(TESTBED) run -- $(CARGO) test --locked --workspace

# Kernels are compiled for cards by NVRTC, which needs none, and for this machine by a C++ compiler.
kernels: ## Compile every CUDA kernel for every architecture, no GPU needed, into target/kernels
	@libraries=$$(tests/cuda/nvrtc.sh) && $(CARGO) build --locked --workspace --all-targets && \
		LD_LIBRARY_PATH=$$libraries $(TARGET)/debug/kernels --out $(TARGET)/kernels --budget inference-server/cuda/kernels.budget

kernels-budget: ## Write down what kernels may take of shared memory and spills, as they are now
	@libraries=$$(tests/cuda/nvrtc.sh) && $(CARGO) build --locked --workspace --all-targets && \
		LD_LIBRARY_PATH=$$libraries $(TARGET)/debug/kernels --out $(TARGET)/kernels --budget inference-server/cuda/kernels.budget --write-budget

# As they are measured; with target/kernels they are all that a machine with a GPU needs.
gpu-programs: ## Build what gpu-check runs, no GPU needed, into target/release
	$(CARGO) build --release --locked -p weighbridge-cuda -p weighbridge-tests --bin gpu-check --bin bench-gpu
	@du -cb $(TARGET)/release/gpu-check $(TARGET)/release/bench-gpu $(wildcard $(TARGET)/kernels)

gpu-check: ## Every kernel and whole models on this machine's GPU: correctness and figures, into OUT (target/gpu-check)
	@tests/cuda/gpu-check.sh

# What `make test` sweeps is a crash and a lost answer at every write; this is every fault there is.
sweep: ## The operator with every fault at every write: ARGS='--seeds 20 --only "a provider"'
	$(CARGO) run --release --locked -p weighbridge-tests --bin sweep -- $(ARGS)

compilers:
	@command -v c++ >/dev/null || tests/install-packages.sh compilers

test-arm: ## The kernels' tests on 64-bit Arm, under emulation
	@tests/arm/test.sh

test-setup: sample vocabularies control-plane clients

control-plane:
	@tests/check-go.sh
	@tests/install-packages.sh
	@tests/control-plane/build.sh >/dev/null

clients:
	@for which in python node; do tests/clients/install.sh $$which >/dev/null; done

vocabularies:
	@tests/vocabularies/fetch.sh >/dev/null

lint: compilers check-generated
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@for crate in crds fit wire; do $(CARGO) check --locked -p weighbridge-$$crate; done
	@# What fuzz/ calls, and its lock file: to check it whole would be a second build of everything, of minutes.
	$(CARGO) check --locked -p weighbridge-inference-server --features fuzzing
	@$(CARGO) tree --locked --manifest-path fuzz/Cargo.toml >/dev/null

fuzz: ## Look further into a file format, with nightly Rust and cargo-fuzz: make fuzz T=tokenizer_json SECONDS=300
	@cargo +nightly --version >/dev/null 2>&1 && cargo fuzz --version >/dev/null 2>&1 && command -v c++ >/dev/null || { echo "fuzzing needs nightly Rust (rustup toolchain install nightly --profile minimal), cargo-fuzz (cargo install --locked cargo-fuzz) and a C++ compiler (apt install g++)" >&2; exit 1; }
	cargo +nightly fuzz run $(T) -- -max_total_time=$(SECONDS) -rss_limit_mb=2048 -timeout=20

generate: ## Write the CRD manifests, the page of fields, and the chart's copies and golden files anew
	$(CARGO) run -p weighbridge-crds --bin crdgen
	@charts/generate.sh
	@docs/fields.py

check-generated:
	$(CARGO) run --locked -p weighbridge-crds --bin crdgen -- --check
	@charts/generate.sh --check
	@docs/fields.py --check

peers: sample ## Make the goldens anew with the living peers and compare; one of them as a provider
	@tests/peers/run.sh

bench: ## Run one benchmark: make bench B=cpu-decode; without B, which there are
	@tests/bench.sh '$(B)'

images: image-packages ## Build the container images as OCI archives
	@images/build.sh

image-packages:
	@tests/install-packages.sh images

node-packages:
	@((EUID == 0)) || { echo "a cluster on this machine starts containers, which needs root: sudo -E env PATH=\"\$$PATH\" make cluster-up" >&2; exit 1; }
	@tests/install-packages.sh node

# In dev, as tests have it: a release build of all that it leans on would be the longest part of a first `cluster-up`.
testbed:
	$(CARGO) build --locked -p weighbridge-tests --bin testbed --bin demo-load --bin provider-simulator

cluster-up: node-packages control-plane images testbed ## A whole cluster on this machine: control plane, kubelet, containerd
	$(TESTBED) up
	@printf '\nnext:\n\n'
	@$(TESTBED) env | sed -n 's/^export KUBECONFIG=/  &/p'
	@echo '  eval "$$(make -s cluster-env)"      # the same, and its kubectl and helm on the PATH'
	@echo '  kubectl get nodes'
	@echo '  make cluster-demo'

# These ask the program that started the cluster: there is nothing to build while it is up.
cluster-demo: ## Helm install, two worlds behind one URL, the dashboards' queries; or S=rollout, swap, nofit, drain, outage, under load
	@S='$(S)' AWAY='$(AWAY)' TESTBED=$(TESTBED) tests/demo/demo.sh

cluster-env: ## What a shell evaluates to use the cluster, kubectl and helm included
	@[[ -x $(TESTBED) ]] || { echo "no cluster is up: start one with \`make cluster-up\`" >&2; exit 1; }
	@$(TESTBED) env

cluster-down: ## Stop it and leave nothing behind
	@[[ -x $(TESTBED) ]] || $(CARGO) build --locked -p weighbridge-tests --bin testbed
	$(TESTBED) down

deny: ## Licences, sources and duplicate versions of every dependency
	@command -v cargo-deny >/dev/null || $(CARGO) install --locked cargo-deny@0.20.2
	$(CARGO) deny check bans licenses sources
