PYTHON ?= python3
BIN := .venv/bin
RUN := $(BIN)/stellar

.PHONY: help setup demo test serve ui lock lint types clean

help:  ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

# Made once, and again whenever the lock file or the project's own metadata change.
.venv/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "stellar needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -qq --requirement requirements.lock
	$(BIN)/pip install -qq --no-deps --no-build-isolation --editable .
	touch $@

setup: .venv/.ready  ## a virtual environment with the locked dependencies and stellar in it

demo: setup  ## the whole path on a simulated shop: events, features, models, verdict, answers over HTTP
	$(RUN) demo

lint: setup  ## style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## static types
	$(BIN)/mypy

test: lint types  ## everything that must hold: lint, types, layers, unit, contract, capability and end-to-end tests
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses logical --dist loadfile $(PYTEST_ARGS)  # a process per core

serve: setup  ## answer over HTTP with the champion
	$(RUN) serve

ui: setup  ## MLflow's pages
	$(RUN) ui

lock: setup  ## compile the lock file from pyproject.toml; the CPU build of torch satisfies the same pin
	$(BIN)/pip install -qq uv
	UV_FIND_LINKS=$(PIP_FIND_LINKS) $(BIN)/uv pip compile --quiet --upgrade --python-version 3.11 --extra dev --extra spark --no-emit-index-url \
		--custom-compile-command 'make lock' --output-file requirements.lock pyproject.toml
	sed -i.bak -E 's/^(torch==[0-9.]+)\+cpu/\1/' requirements.lock && rm requirements.lock.bak

clean:  ## remove the virtual environment and everything written by runs
	rm -rf .venv .stellar .mypy_cache .ruff_cache .pytest_cache
