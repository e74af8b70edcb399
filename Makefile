# Everything is built below $INNKEEPER_CACHE, else ~/.cache/innkeeper: a second clone is warm from the start.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup test chaos soak chaos-selftest model mutations fuzz bench-ec2 without-ec2 test-xapi test-openstack bench-scale test-guests bench-xapi test-chart test-leaders test-gitops test-image demo sandbox sandbox-stop crds lint fmt clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Fetch and build what tests and demo need beside Rust crates
	@scripts/setup.sh

test: ## Run all tests, with the formatter and the linter
	@scripts/test.sh

bench-ec2: ## Count the calls to EC2 with INSTANCES=1000 at rest over 2 minutes, and time a change behind our back
	@scripts/bench-ec2.sh

without-ec2: ## Check that it builds without the AWS SDK, as contributors may; its dependencies are kept apart
	@. scripts/lib.sh && CARGO_TARGET_DIR="$$CACHE/target-without-ec2" cargo check --workspace --lib --bins --no-default-features --locked

test-xapi: ## Hold the XAPI driver's contract against a simulated pool in a process apart, by its URL; LOAD="FILE ..." for databases of pools
	@scripts/test-xapi.sh

test-openstack: ## Put the OpenStack driver through the provider contract, against a real control plane; CASES=own for a part
	@scripts/test-openstack.sh

test-chart: ## Lint the Helm chart, test its templates, and install it on a real API server
	@scripts/test-chart.sh

test-leaders: ## Kill the leader of two replicas thirty times while guests are made; KILLS=6 for fewer
	@scripts/test-leaders.sh

test-gitops: ## Have Flux's kustomize-controller apply ten commits of a Git repository; compare conditions with kstatus
	@scripts/test-gitops.sh

test-image: ## Build the image from the local binary and run it without any rights
	@scripts/test-image.sh

chaos: ## Kill the operator at its calls and break its networks; CHAOS_STRIDE=1 for every call, SEEDS=200 for more storms, JOBS=1 to play one after the other
	@scripts/chaos.sh

soak: ## Make, change and remove N=200 guests on a failing Xen pool, with SEEDS=20 (or 7-9), and compare pool and API server
	@scripts/soak.sh

test-guests: ## Have N=1000 guests bound, and see what a changed price, a cordon and a new pool write and move
	@scripts/test-guests.sh

bench-xapi: ## Follow a Xen pool of 64 hosts and 2,000 VMs with an optimised driver; fails where it is too slow
	@scripts/bench-xapi.sh

chaos-selftest: ## Plant two defects, one after the other, and see that the tests of faults find each
	@scripts/chaos-selftest.sh

model: ## Explore the life of a guest with stateright; MODEL_FAULTS=2 and MODEL_TICKS=3 say how far
	@scripts/model.sh

mutations: ## Apply N=2000 manifests with one wrong field each, and after each the right one
	@scripts/mutations.sh

fuzz: ## Feed the parsers of outside bytes with anything, SECONDS_EACH=600 for each; needs a nightly Rust toolchain
	@scripts/fuzz.sh

bench-scale: ## Measure how long N=1000 guests take over four pools; builds an optimised operator, PROFILE=dev does not
	@scripts/bench-scale.sh

demo: ## Lodge six guests on Xen and EC2, bring them home, scale, remove them; POOLS=all for twelve on four providers
	@scripts/demo.sh

sandbox: ## Start API server, Xen pool, EC2 endpoint and operator, and leave them running; POOLS=all for Google and OpenStack too
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
	@gofmt -w tests/controlplane tests/gitops/flux

clean: ## Remove all that was built and fetched; the next run begins cold
	@scripts/clean.sh
