# What people type and what .ci/run calls are the same targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo build test test-matrix unit fuzz soak soak-outside soak-planted hit-ratio analysis conformance conformance-quick lint fmt deny audit deps-demo deps-test deps-conformance deps-analysis clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: deps-demo ## Watch pgditto in front of a throwaway PostgreSQL (SECONDS_OF_LOAD=20 CLIENTS=64 KEEP=1)
	@scripts/demo.sh

build: ## Build the release binary, target/release/pgditto
	cargo build --release --locked --bin pgditto

test: deps-test ## Run every test against real servers
	cargo test --locked --quiet --doc
	@scripts/test.sh

test-matrix: deps-test ## Run the tests against PostgreSQL 13 to 18 (VERSIONS="17 18" TESTS='test(cache::)'; an hour)
	@scripts/matrix/run.sh

unit: ## Run the tests that need no server
	cargo test --locked --lib

fuzz: deps-test ## Compare random sessions with a twin database (SECONDS_OF_FUZZ=1200 SEED=… EPISODE=…)
	@scripts/soak.sh fuzz

soak: deps-test ## Check what many clients read while servers and connections fail (SECONDS_OF_SOAK=3600 SEED=…)
	@scripts/soak.sh soak

soak-outside: deps-test ## Check how old the answers are while others write to the server directly (SECONDS_OF_SOAK=600 SEED=…)
	@scripts/soak.sh direct-writers

soak-planted: deps-test ## See that the soak finds what each step of the cache's protocol prevents (STEP=… SECONDS_OF_SOAK=120)
	@scripts/soak.sh planted

hit-ratio: deps-test ## Compare the hits under writes with perfect invalidation (ROWS_OF_HIT_RATIO OPERATIONS_OF_HIT_RATIO)
	@scripts/soak.sh hit-ratio

analysis: deps-test deps-analysis ## Compare the analysis of statements with PostgreSQL's own parser (SEED=…)
	@scripts/analysis.sh

conformance: deps-conformance ## Run PostgreSQL's own tests directly and through pgditto, and compare (half an hour)
	@scripts/conformance/run.sh

conformance-quick: deps-conformance ## The same for ten of its files
	@scripts/conformance/run.sh quick

lint: ## Check the format and the lints
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --all-targets --features planted-faults -- -D warnings

fmt: ## Format the code
	cargo fmt

deny: ## Check licences, sources and bans of the dependencies (deny.toml)
	@scripts/deny.sh bans licenses sources

audit: ## Check the dependencies for known vulnerabilities (needs the advisory database's host)
	@scripts/deny.sh advisories

deps-demo: ## Install the Debian packages that the demo lacks
	@scripts/deps.sh demo

deps-test: ## Install the Debian packages that the tests lack
	@scripts/deps.sh test

deps-conformance: ## Install the Debian packages that PostgreSQL's own tests lack
	@scripts/deps.sh conformance

deps-analysis: ## Install the Debian packages that PostgreSQL's parser lacks
	@scripts/deps.sh analysis

clean: ## Remove what was built
	cargo clean
