# The commands of this project. `make run` serves a store, `make test` sets up and runs every test.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

DATA ?= data
SEEDS ?= 200
ROUNDS ?= 20
SCALE ?= 20
SECONDS ?= 60
FUZZ_SECONDS ?= 60
OBJECTS ?= 10000000
VENV := .venv
PYTEST := $(VENV)/bin/python -m pytest -q -x --durations=5
BINARY := target/debug/siltstone
SIM := target/debug/siltstone-sim

.PHONY: help
help: ## show the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

.PHONY: run
run: build ## build, then serve a store in $(DATA), with credentials and a first command
	@.ci/serve.sh target/release/siltstone $(DATA)

.PHONY: build
build: .ci/toolchain.done ## release binaries in target/release
	cargo build --release --locked --bin siltstone
	cargo build --release --locked -p siltstone-simulation --bin siltstone-sim

.PHONY: setup
setup: .ci/toolchain.done .ci/system.done $(VENV)/done ## install what the tests need (as root where packages are missing)

.ci/toolchain.done: rust-toolchain.toml .ci/toolchain.sh
	.ci/toolchain.sh
	@touch $@

.ci/system.done: .ci/system.sh
	.ci/system.sh
	@touch $@

$(VENV)/done: tests/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check -r tests/requirements.txt
	@touch $@

.PHONY: check
check: .ci/toolchain.done ## format, lints, structure and unit tests: about three minutes
	cargo fmt --all --check
	python3 .ci/structure.py
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --locked -q

.PHONY: test
test: setup ## everything: lints, units, properties, simulation, real clients, crashes, faults
	.ci/test.sh

.PHONY: debug
debug: .ci/toolchain.done
	cargo build --workspace --locked

.PHONY: blackbox
blackbox: setup debug ## real clients, crashes and faults against the real binary (ARGS for pytest)
	$(PYTEST) -n 3 --dist worksteal tests/blackbox $(ARGS)

.PHONY: clients
clients: setup debug ## the same journey with every client there is (ARGS for pytest)
	.ci/clients.sh all
	SILTSTONE_CLIENTS=all $(VENV)/bin/python -m pytest -q --durations=5 -n 2 --dist loadgroup tests/clients $(ARGS)

.PHONY: sim
sim: debug ## simulation: $(SEEDS) seeds
	$(SIM) sweep --from 1 --count $(SEEDS)

.PHONY: exhaustive
exhaustive: debug ## simulation: every crash of one run of 200 operations: about four minutes of processor time
	$(SIM) exhaustive

.PHONY: mutants
mutants: .ci/toolchain.done ## planted bugs: each must be caught
	cargo run --locked -p siltstone-simulation --features mutants -- mutants

.PHONY: crash
crash: setup debug ## kill -9 under load, $(ROUNDS) rounds
	SILTSTONE_CRASH_ROUNDS=$(ROUNDS) $(PYTEST) -s tests/blackbox/test_crash.py -k kill_9

.PHONY: torture
torture: setup debug ## eleven kinds of faults under load, $(ROUNDS) rounds (SEED=… ROUND=… repeat one)
	$(VENV)/bin/python tests/blackbox/torture.py --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED)) \
		$(if $(ROUND),--round $(ROUND)) --json target/torture.json

.PHONY: fuzz
fuzz: .ci/toolchain.done ## parsers on mutations of their corpora, $(SECONDS) seconds each
	@seed=$${SILTSTONE_FUZZ_SEED:-$$(date +%s)}; echo "SILTSTONE_FUZZ_SEED=$$seed"; \
	SILTSTONE_FUZZ_SEED=$$seed SILTSTONE_FUZZ_SECONDS=$(SECONDS) cargo test --workspace --lib --locked -- --show-output fuzz

.PHONY: fuzz-coverage
fuzz-coverage: .ci/toolchain.done ## the same parsers under libFuzzer, slow: $(FUZZ_SECONDS) seconds each (some: TARGETS)
	.ci/fuzz-coverage.sh $(FUZZ_SECONDS) $(TARGETS)

.PHONY: restic
restic: setup debug ## a restic backup of $(SCALE) times 190 MB, cut off by kill -9, then every byte read back
	SILTSTONE_RESTIC_SCALE=$(SCALE) $(PYTEST) tests/blackbox/test_restic.py -k crash

.PHONY: big
big: setup debug ## uploads of 5 GiB and of 10,000 parts, with 6 GiB of disk (ARGS for pytest)
	SILTSTONE_BIG=1 $(PYTEST) -s -o tmp_path_retention_policy=failed tests/blackbox/test_big.py $(ARGS)

.PHONY: bench
bench: build ## figures of this machine beside its own limits; a store with $(OBJECTS) objects is kept in $(DATA)-fill
	target/release/siltstone bench log --dir $(DATA)-bench
	target/release/siltstone bench s3 --dir $(DATA)-bench --objects $(OBJECTS) --store $(DATA)-fill
	target/release/siltstone bench rebuild --dir $(DATA)-bench

.PHONY: criterion
criterion: .ci/toolchain.done ## CPU cost of the writer, the chain, replay and listings in memory, beside the last run's
	cargo bench --locked -p siltstone-log --bench writer
	cargo bench --locked -p siltstone-projections --bench projections

# Load tests: .ci/k6.sh starts a server, runs scenarios of k6/ and ends it; docs/load-tests.md has the variables.
SOAK ?= 30

.PHONY: check-k6
check-k6: ## k6 for the load tests, built by Go into target/tools where it is missing
	@.ci/k6.sh install

.PHONY: perf-test-upload perf-test-download perf-test-mixed perf-test-quick perf-test-stress perf-test-soak perf-test-all perf-test-custom
perf-test-upload: ## load: uploads by 1 to 50 users
	@.ci/k6.sh upload

perf-test-download: ## load: downloads by 100 users
	@.ci/k6.sh download

perf-test-mixed: ## load: everything, a spike of users, then of arrivals (115,500 requests)
	@.ci/k6.sh mixed mixed-rate

perf-test-quick: ## load: seconds long, fit for every change
	@.ci/k6.sh quick

perf-test-stress: ## load: ever more users without pauses
	@.ci/k6.sh stress

perf-test-soak: ## load: level for $(SOAK) minutes, fails where the server's memory grows
	@SOAK=$(SOAK) .ci/k6.sh soak

perf-test-all: ## load: all but soak and custom, about fifteen minutes
	@.ci/k6.sh quick upload download mixed mixed-rate stress

perf-test-custom: ## load: VUS users or RATE arrivals a second for DURATION, contents of SIZES
	@.ci/k6.sh custom

DENY := $(shell command -v cargo-deny || echo target/tools/bin/cargo-deny)

target/tools/bin/cargo-deny: .ci/toolchain.done
	cargo install --locked --quiet --root target/tools cargo-deny@0.20.2

.PHONY: deny
deny: $(DENY) ## licences, duplicates and origins of dependencies
	$(DENY) check licenses bans sources

.PHONY: nightly
nightly: setup debug mutants deny ## the long forms
	$(MAKE) sim SEEDS=20000
	$(MAKE) exhaustive
	$(MAKE) crash ROUNDS=1000
	$(MAKE) torture ROUNDS=200
	$(MAKE) restic SCALE=20
	$(MAKE) big
	$(MAKE) fuzz SECONDS=300
	$(MAKE) fuzz-coverage FUZZ_SECONDS=120
	$(MAKE) clients
	$(MAKE) build
	$(MAKE) perf-test-all perf-test-soak
	$(MAKE) bench

.PHONY: clean
clean: ## remove what was built
	rm -rf target $(VENV) .ci/*.done
