.DEFAULT_GOAL := help
.PHONY: help build demo test lint deny unit whole-run simulation soak mutations named-mutations third-party-s3 conformance template bench growth clean

# Where cargo puts what it builds.
BUILT := $(or $(CARGO_TARGET_DIR),target)
CARGO_DENY := target/tools/bin/cargo-deny
CARGO_DENY_VERSION := 0.20.2

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9_-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the debug binaries
	@test -x $(BUILT)/debug/demo || echo "Building; the first build takes some minutes."
	@cargo build --workspace --bins

demo: build ## Show what the collector does, on this machine alone; needs nothing but cargo
	@$(BUILT)/debug/demo

test: lint deny unit whole-run simulation named-mutations third-party-s3 conformance template ## Run every check and every test; needs Python for the third parties
	@echo "All checks and tests passed."

lint: ## Check formatting, and clippy with warnings denied
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

deny: $(CARGO_DENY) ## Check licences, sources, and that there is one TLS and one HTTP stack
	$(CARGO_DENY) --workspace check bans licenses sources

$(CARGO_DENY):
	@echo "Installing cargo-deny (once)"
	cargo install --quiet --locked --no-default-features --root target/tools --target-dir target/tools-build cargo-deny@$(CARGO_DENY_VERSION)

unit: ## Run the unit tests, and the simulator's own
	cargo test --workspace --lib --bins --test api --test aws --test lists --test hot_loop

whole-run: ## Run the whole-run tests: the real binary, over HTTP, in the simulator
	cargo test --workspace --test whole_run -- --test-threads 4

simulation: ## Run 300 schedules of faults, deaths and overlaps, each decided by a seed; SEED=n replays one
	cargo test --workspace --test simulation -- --nocapture

soak: ## Run such schedules for MINUTES (10), and print how many faults of each kind they made
	MINUTES=$(or $(MINUTES),10) cargo test --workspace --test simulation -- --nocapture

mutations: ## Break the collector's promises one by one, and check that the simulation sees each
	python3 tests/mutations/check.py

named-mutations: # The five without which nothing holds: all of them take some minutes.
	python3 tests/mutations/check.py create-only opened-before-read total-check lease read-back

third-party-s3: build ## Run the whole-run tests again, on an S3 that no one here wrote
	tests/third_party_s3.sh

conformance: build ## Check the simulator with the vendor's SDK and CLI, and compare with the guide's function
	tests/conformance/check.sh

template: ## Check template.yaml, and that it is true to the code
	tests/template/check.sh

bench: ## Measure the collector beside its peers; prints tables; takes half an hour, most of it building
	tests/bench/run.sh
	cargo bench --package bench --profile bench-tools

growth: ## Draw how time, memory and CPU grow: tests/bench/growth.svg
	tests/bench/run.sh growth

clean: ## Remove all that was built
	cargo clean
