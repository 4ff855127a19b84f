.DEFAULT_GOAL := help
.PHONY: help build demo clean

# Where cargo puts what it builds.
BUILT := $(or $(CARGO_TARGET_DIR),target)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9_-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build the debug binaries
	@test -x $(BUILT)/debug/demo || echo "Building; the first build takes some minutes."
	@cargo build --workspace --bins

demo: build ## Show what the collector does, on this machine alone; needs nothing but cargo
	@$(BUILT)/debug/demo

clean: ## Remove all that was built
	cargo clean
