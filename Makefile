# Every target does its own set-up; a fresh machine needs Rust, git and a C compiler.

.PHONY: help run test test-long loom check licences clients bench goals dist

help:
	@echo 'make run        build for release and serve on port 6379, in memory'
	@echo 'make test       everything a change must pass'
	@echo 'make test-long  the same tests at full size, recorded in tests/results (over an hour)'
	@echo 'make loom       model-check what two cores touch'
	@echo 'make check      formatting and lints'
	@echo 'make licences   licences, sources and duplicates of all dependencies'
	@echo 'make dist       what is released: program, package, man pages, checksums, into target/dist'
	@echo 'make bench      measure beside Redis, memcached and an LSM tree: a record in ten minutes'
	@echo 'make goals      measure every figure the project has promised (three quarters of an hour)'

run:
	cargo run --release --bin coremap

test: clients
	cargo test --workspace --no-fail-fast

test-long: clients
	tests/long

# Every interleaving of what two cores touch, on the shipped code with loom's atomics.
loom:
	RUSTFLAGS='--cfg loom' cargo test --lib --target-dir target/loom loom_tests

check:
	@cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
	@cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
	cargo fmt --all --check
	cargo fmt --manifest-path tests/clients/rust/Cargo.toml --check
	cargo clippy --workspace --all-targets -- -D warnings

# What of crates.io may be inside: deny.toml. Advisories are left out: they need a network at every run.
# cargo-deny is installed once on a machine, in two minutes of two cores; optimised it would cost more than it saves.
licences:
	@cargo deny --version >/dev/null 2>&1 || cargo install --locked --debug cargo-deny@0.20.2
	cargo deny --workspace --locked check licenses sources bans

# `tools/dist --again` builds it in another folder and compares.
dist:
	tools/dist

# Client libraries as their users have them, below target/. Without python3 or node their tests say
# that they were skipped; with COREMAP_REQUIRE_CLIENTS=1 that is a failure.
clients:
	@tests/clients/install target/clients

# Side by side on this machine, as bench/README.md tells it; writes bench/results/<date>-bench.
bench:
	cargo build --release --workspace
	target/release/coremap-bench compare --operations get,set --batches 1,10,100,1000,20000 \
		--overwrite 5 --rounds 3 --seconds 2 --name bench

goals:
	cargo build --release --workspace
	target/release/coremap-bench goals
