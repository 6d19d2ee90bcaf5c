# The commands people remember. `make demo` and `make test` do all the set-up there is.
CARGO ?= cargo

.PHONY: help demo test check bench fmt docs install clean

help:                     ## List the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 14

demo:                     ## Build, then watch a memory travel between two machines
	$(CARGO) build --locked --bins
	@bash scripts/demo.sh $(or $(CARGO_TARGET_DIR),target)/debug

test:                     ## Run every suite
	@sh scripts/postgres.sh
	$(CARGO) build --locked --bins
	$(CARGO) test --locked --workspace --no-fail-fast

check:                    ## Formatting and lints, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

bench:                    ## Measure, print a table, append it to benches/results.md
	$(CARGO) build --locked --release --bins
	$(CARGO) build --locked --release -p engramctl  # by itself, as `install` does: with no library more than it needs
	$(CARGO) run --locked --release -p engram-benches -- $(BENCH)

fmt:                      ## Format everything
	$(CARGO) fmt --all

docs:                     ## Write the generated pages again
	$(CARGO) run --locked -q -p engram-proto --example reasons > docs/reasons.md

install:                  ## Build with optimisation and install the three programs into ~/.cargo/bin
	$(CARGO) install --locked --path engramd
	$(CARGO) install --locked --path engramctl
	$(CARGO) install --locked --path engram-cloud

clean:                    ## Remove what was built
	$(CARGO) clean
