# Every target does its own set-up: system packages (as root, with apt-get), virtual environment, generated stubs.
# A second run finds it done. `make clean` undoes it; the system packages stay.
#
#   make demo         the main job on a private switch, in a network namespace of its own
#   make test         all tests (as root);  make test ARGS='tests/unit -k diff'
#   make attack       what guests must not be able to do: each attempt, and how many passed (as root)
#   make lint         formatting, types, import layers, protos, generated files
#   make run          the agent against this host's own Open vSwitch
#   make generate     write the generated files anew: etc/ofctl.conf and the generated pages of docs/
#   make chaos | bench | bench-full

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROTOS := $(shell find protos -name '*.proto')
ARGS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help venv deps stubs test attack demo run lint generate chaos bench bench-full clean system test-system root

help:
	@sed -n 's/^# \{0,3\}//p;/^$$/q' Makefile

# --- set-up ----------------------------------------------------------------------------------------------------------

system:
	@tools/system-packages demo

test-system:
	@tools/system-packages test

$(VENV)/.made: | system
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

# The requirements of the build go into the environment itself: pip's isolated one would fetch them each time, and not
# as constraints.txt pins them.
$(VENV)/.installed: constraints.txt pyproject.toml setup.py $(VENV)/.made
	$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['build-system']['requires'], sep='\n')" > $(VENV)/build-requires.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --requirement $(VENV)/build-requires.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	touch $@

$(VENV)/.stubs: $(PROTOS) setup.py $(VENV)/.installed
	rm -f ofctl/v1/*_pb2.py* ofctl/v1/*_pb2_grpc.py*
	$(BIN)/python setup.py --quiet build_stubs --inplace
	touch $@

venv: $(VENV)/.made
deps: $(VENV)/.installed
stubs: $(VENV)/.stubs

# --- what it is for --------------------------------------------------------------------------------------------------

demo: $(VENV)/.stubs | system
	$(BIN)/python -m ofctl.demo $(ARGS)

run: $(VENV)/.stubs | system root
	$(BIN)/python -m ofctl.sandbox.host $(ARGS)

# Two files of tests at a time: each test has a namespace and a switch of its own, and waits more than it works.
test: $(VENV)/.stubs | test-system root
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

attack: $(VENV)/.stubs | test-system root
	$(BIN)/python -m tests.attack $(ARGS)

chaos: $(VENV)/.stubs | test-system root
	$(BIN)/python -m pytest -m chaos $(ARGS)

bench: $(VENV)/.stubs | system
	$(BIN)/python -m bench $(ARGS)

bench-full: $(VENV)/.stubs | system
	$(BIN)/python -m bench --full $(ARGS)

root:
	@[ "$$(id -u)" = 0 ] || { echo "this needs root: it makes network namespaces and devices (make demo does without)" >&2; exit 1; }

# --- what it is checked by -------------------------------------------------------------------------------------------

lint: $(VENV)/.stubs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	BIN=$(BIN) tools/generate --check

generate: $(VENV)/.stubs
	BIN=$(BIN) tools/generate

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -f ofctl/v1/*_pb2.py* ofctl/v1/*_pb2_grpc.py*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
