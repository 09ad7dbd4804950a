# make run: set up everything, run the quickstart, show the scoreboard.   make test: what CI runs.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PEERS := .peers
TOOLS := .tools
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.PHONY: setup run test test-ray soak lint ui bench bench-quick sbom clean

setup: $(VENV)/.installed

$(VENV)/.installed: constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt setuptools wheel
	$(BIN)/python -m pip install -q -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e ".[s3,molecules,test]"
	@touch $@

run: setup  ## the quickstart, corpora to scoreboard
	@$(BIN)/prelude plan
	@$(BIN)/prelude run

test: setup lint  ## everything but the long suites
	$(BIN)/python -m pytest -n 2 --dist loadfile --max-worker-restart 2

soak: setup  ## long fault runs
	$(BIN)/python -m pytest -n 2 --dist loadfile -m soak -o faulthandler_timeout=3600 -rP --durations=0 --durations-min=1

test-ray: setup  ## extract, ingest and pretrain on a Ray cluster of several nodes, one of which is killed
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e ".[s3,molecules,test,ray]"
	$(BIN)/python -m pytest -m ray -o faulthandler_timeout=3600 tests/cluster

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

ui: setup  ## the MLflow UI, on loopback
	$(BIN)/prelude ui

bench: setup $(PEERS)/.installed  ## one table of ratios, hours: BENCH="probe knn" runs some of its lines (benchmarks/README.md)
	$(BIN)/python -m benchmarks $(BENCH)

bench-quick: setup $(PEERS)/.installed  ## every benchmark at tiny size, to see that it runs
	$(BIN)/python -m benchmarks --quick

$(PEERS)/.installed: benchmarks/peers.txt
	$(BIN)/python -m pip install -q --no-deps --upgrade --target $(PEERS) -r benchmarks/peers.txt
	@touch $@

sbom: setup $(TOOLS)/.installed  ## dist/: what the environment is made of (CycloneDX), under which licences, with which known flaws
	@mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --output-reproducible -o dist/sbom.json
	$(TOOLS)/bin/pip-licenses --python $(BIN)/python --order=license --format=plain --output-file dist/licences.txt
	$(TOOLS)/bin/pip-audit --no-deps --disable-pip -r constraints.txt --progress-spinner off > dist/audit.txt

$(TOOLS)/.installed: .ci/tools.txt
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install -q --no-deps -r .ci/tools.txt
	@touch $@

clean:  ## outputs and work state; the environment and DVC's cache stay
	rm -rf data/corpora data/encoders data/features data/tasks data/reports data/records data/report .prelude mlflow.db mlartifacts
