# Everything is built below $INNKEEPER_CACHE, else ~/.cache/innkeeper: a second clone is warm from the start.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup test test-openstack chaos bench-scale test-chart test-gitops test-image demo sandbox sandbox-stop crds lint fmt clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Fetch and build what tests and demo need beside Rust crates
	@scripts/setup.sh

test: ## Run all tests, with the formatter and the linter
	@scripts/test.sh

test-openstack: ## Put the OpenStack driver through the provider contract, against a real control plane; CASES=own for a part
	@scripts/test-openstack.sh

test-chart: ## Lint the Helm chart, test its templates, and install it on a real API server
	@scripts/test-chart.sh

test-gitops: ## Apply ten commits of a Git repository over and over, as Flux does; compare conditions with kstatus
	@scripts/test-gitops.sh

test-image: ## Build the image from the local binary and run it without any rights
	@scripts/test-image.sh

chaos: ## Kill the operator at its calls and break its networks; SEEDS=200 for more, CHAOS_STRIDE=1 for every call
	@scripts/chaos.sh

bench-scale: ## Measure how long N=1000 guests take over four pools; builds an optimised operator, PROFILE=dev does not
	@scripts/bench-scale.sh

demo: ## Lodge six guests on a simulated Xen pool and on EC2, bring them home, scale them, remove them
	@scripts/demo.sh

sandbox: ## Start API server, Xen pool, EC2 endpoint and operator, and leave them running
	@scripts/sandbox.sh start

sandbox-stop: ## Stop what `make sandbox` started
	@scripts/sandbox.sh stop

crds: ## Write the definitions of the kinds to crds/ and to the chart, and the pages about their fields to docs/reference/
	@innkeeper="$$(scripts/build.sh)/innkeeper" && "$$innkeeper" crds --output crds && \
	  "$$innkeeper" crds --format markdown --output docs/reference
	@cp crds/*.yaml charts/innkeeper/files/crds/

lint: ## Run the linter alone
	@. scripts/lib.sh && cargo clippy --workspace --all-targets --locked -- -D warnings

fmt: ## Format all sources
	@cargo fmt --all
	@gofmt -w tests/controlplane tests/gitops/engine

clean: ## Remove all that was built and fetched; the next run begins cold
	@scripts/clean.sh
