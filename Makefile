# Two targets are all a newcomer needs: `make demo` and `make test`. Each sets up everything it needs.
# Tests run several at a time, also on few cores: those with a broker mostly wait, for sessions and workers.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
# The lock files are complete: what a package asks for besides is not wanted. pip checks their hashes.
# torch without CUDA is taken where pip knows one: from a folder that PIP_FIND_LINKS names, or from
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu. It is gigabytes smaller.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-deps
FUZZ_SECONDS ?= 600
UV := 0.13.9
COMPILE := from worker.kafka import placement; from worker.pipeline import recommender; \
  from worker.settings import Model; placement.warm_up(); recommender.load(Model(), 10)
CODE := worker pprm schemas tests benchmarks deploy

.DEFAULT_GOAL := help
.PHONY: help install compile demo test test-faults soak test-fast format lint types imports schemas check fuzz audit train lock pythons clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## virtual environment with pinned dependencies

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	@$(PIP) --requirement deploy/torch-cpu.lock 2>/dev/null || true
	$(PIP) --requirement requirements.lock
	@if $(BIN)/pip show torch | grep -q '^Requires:.*cuda'; then $(PIP) --requirement deploy/cuda.lock; fi
	$(PIP) --editable .
	@touch $@

demo: $(READY) ## real purchases through an embedded broker: watch recommendations change
	$(BIN)/pprm demo $(ARGS)

compile: $(READY) ## compile the loops of the model, which tests at the same time would do several times
	@$(BIN)/python -c "$(COMPILE)"

test: compile ## all tests, each on one broker: the embedded one, or Apache Kafka where PPRM_TEST_KAFKA names it
	$(BIN)/pytest -n 3 --dist worksteal $(ARGS)

test-faults: compile ## the whole fault suite, on the embedded broker and, where PPRM_TEST_KAFKA names it, on Apache Kafka
	PPRM_TEST_FAULTS=full $(BIN)/pytest tests/faults -n 5 --dist worksteal --durations=0 $(ARGS)

soak: compile ## a million events with random faults; ARGS="--minutes 60 --delivery exactly_once"
	$(BIN)/python -m tests.faults.soak $(ARGS)

test-fast: $(READY) ## unit and contract tests only
	$(BIN)/pytest tests/unit tests/contract $(ARGS)

format: $(READY) ## rewrite the code in its format
	$(BIN)/ruff format $(CODE)
	$(BIN)/ruff check --fix $(CODE)

lint: $(READY) ## format and lint, changing nothing
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)

types: $(READY) ## mypy --strict
	$(BIN)/mypy

imports: $(READY) ## the dependency rule
	$(BIN)/lint-imports

schemas: $(READY) ## write the AsyncAPI document and the JSON Schemas from the models
	$(BIN)/python -m schemas

check: lint types imports test ## all that CI runs

fuzz: $(READY) ## damage whatever is decoded, for FUZZ_SECONDS (needs Linux on x86-64); what is found lies in .fuzz
	$(BIN)/pip install --quiet --disable-pip-version-check --target $(VENV)/fuzz --upgrade -r tests/fuzz/requirements.txt
	PYTHONPATH=$(VENV)/fuzz $(BIN)/python -m tests.fuzz $(FUZZ_SECONDS)

audit: $(READY) ## known vulnerabilities in requirements.lock (needs the network)
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && \
	  $(VENV)/audit/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1; } || \
	  { echo "NOT AUDITED: pip-audit could not be installed. It needs the network."; exit 2; }
	@$(BIN)/python deploy/audit.py $(VENV)/audit/bin/pip-audit

train: $(READY) ## train the bundled artifact again
	$(BIN)/pprm train --dataset complete-journey --out pprm/artifacts/complete-journey

lock: $(READY) ## write the lock files anew, with hashes; versions stay as they are locked (needs the network)
	@test -x $(VENV)/lock/bin/uv || { $(PYTHON) -m venv $(VENV)/lock && \
	  $(VENV)/lock/bin/pip install --quiet --disable-pip-version-check uv==$(UV); }
	$(BIN)/python deploy/lock.py $(VENV)/lock/bin/uv $(BIN)/pip

pythons: $(READY) ## the tests on every Python from 3.11 on that is installed, and why one is refused (needs the network)
	$(BIN)/python deploy/pythons.py $(ARGS)

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .venv-* .fuzz .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
