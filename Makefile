# Timonier: `make up` builds and starts a cluster, `make test` runs every test, `make down` removes
# the cluster from the host. Needs Debian 12, root, and a Rust toolchain.

# Builds name the whole workspace: with fewer packages, dependencies have other features and are
# built again.
TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN    := $(TARGET)/release/timonier
TOOLS  := $(CURDIR)/target/tools
SEEDS  ?= 1000
# Of `make fuzz`, for each target: most seconds, most inputs.
SECONDS ?= 8
RUNS    ?= 20000
export TIMONIER_TOOLS := $(TOOLS)
export AREA FOCUS RESULT PROCS NODES
CONFORMANCE = tests/need-go && cd tests/conformance && go build -o $(abspath $(TARGET))/conformance ./cmd/conformance \
	&& exec $(abspath $(TARGET))/conformance -bin $(abspath $(BIN))

.PHONY: help up down build test check unit sim fuzz e2e fresh bench tools conformance conformance-sample build-deps test-deps fuzz-deps clean

help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*##' Makefile | awk -F ':.*## ' '{ printf "  make %-18s %s\n", $$1, $$2 }'

up: build ## Build, start a one-node cluster, deploy the example
	$(BIN) up
	$(BIN) example

down: ## Stop the cluster and take everything of it off the host
	$(BIN) down

build: build-deps ## Build the binary
	cargo build --release --locked --package timonier

test: build-deps test-deps tools check unit sim fuzz e2e ## Run every test

check: ## Formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings

unit: ## Unit and integration tests of every crate
	cargo test --workspace --locked -- --quiet --show-output 2>&1 | tests/summary

sim: ## The control plane under virtual time with faults, SEEDS=1000
	cargo build --quiet --locked --workspace --bin timonier-sim
	$(TARGET)/debug/timonier-sim --seeds $(SEEDS)

# The workspace's own crates are built once more, with counters of which code runs; the packages from
# outside are those of the other tests.
fuzz: fuzz-deps ## Every decoder on mutated input, TARGETS="json yaml" SECONDS=8 RUNS=-1
	RUSTC_WORKSPACE_WRAPPER=$(CURDIR)/tests/sancov cargo build --quiet --locked --workspace \
		--bin timonier-fuzz --features timonier-fuzz/engine
	$(TARGET)/debug/timonier-fuzz --directory $(abspath $(TARGET))/fuzz --seconds $(SECONDS) \
		--runs $(RUNS) $(addprefix --target ,$(TARGETS)) $(INPUT)

e2e: build ## Real containers and the real kubectl
	TIMONIER_BIN=$(abspath $(BIN)) cargo test --locked --workspace --test e2e

# The bench uses no package and no feature that the binary does not use: nothing is built twice.
bench: build-deps test-deps tools ## Speed and size beside peers, FIGURES="up idle" for some
	cargo build --release --locked --package timonier --package timonier-bench
	$(TARGET)/release/timonier-bench $(FIGURES)

conformance: build test-deps tools ## Kubernetes' own conformance tests; AREA=sig-apps FOCUS=regexp
	$(CONFORMANCE) run

conformance-sample: build test-deps tools ## Ten minutes of the conformance tests that passed before
	tests/need-go && cd tests/conformance && go test ./cmd/...
	$(CONFORMANCE) sample

fresh: ## `make up` and `make down` on a Debian 12 made for it, in a directory
	tests/fresh-debian

tools: $(TOOLS)/kubectl ## Fetch the real kubectl and helm

$(TOOLS)/kubectl: tests/fetch-tools
	tests/fetch-tools $(TOOLS)

# Debian packages, installed only where one is missing.
BUILD_PACKAGES := gcc libc6-dev libseccomp-dev pkg-config busybox-static
TEST_PACKAGES  := etcd-server curl iproute2 nftables python3-pip python3-venv unzip xz-utils apt-utils dpkg
FUZZ_PACKAGES  := g++

build-deps:
	@tests/install-packages $(BUILD_PACKAGES)

test-deps:
	@tests/install-packages $(TEST_PACKAGES)

fuzz-deps:
	@tests/install-packages $(FUZZ_PACKAGES)

clean: ## Delete what was built
	cargo clean
