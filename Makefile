# Every target does its own set-up; a fresh machine needs Rust, git and a C compiler.

.PHONY: help run test test-long loom check clients

help:
	@echo 'make run        build for release and serve on port 6379, in memory'
	@echo 'make test       everything a change must pass'
	@echo 'make test-long  the same tests at full size (about half an hour)'
	@echo 'make loom       model-check what two cores touch'
	@echo 'make check      formatting and lints'

run:
	cargo run --release --bin coremap

test: clients
	cargo test --workspace --no-fail-fast

test-long: clients
	COREMAP_TEST_LONG=1 cargo test --workspace --release --no-fail-fast

# Every interleaving of what two cores touch, on the shipped code with loom's atomics.
loom:
	RUSTFLAGS='--cfg loom' cargo test --lib --target-dir target/loom loom_tests

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

# Client libraries of other languages, below target/. Without python3 or node their tests say
# that they were skipped; with COREMAP_REQUIRE_CLIENTS=1 that is a failure.
clients:
	@tests/clients/install target/clients
