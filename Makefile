# Two commands do everything: `make study` and `make test`. Both make the virtual environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help study test check docs setup clean reference

help:
	@echo "make study   set up, then search, compare and show losses on long-tailed digits (about 4 min on 2 cores)"
	@echo "make test    set up, then the whole test suite (12 to 38 min on 2 cores; needs chromium)"
	@echo "make check   ruff, mypy, and whether every planted fault still fits the code"
	@echo "make docs    the documentation: build/docs/index.html"
	@echo "make reference RUN=results/NAME   publish a run's page and tables in results/reference"

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

setup: $(VENV)/.ready

study: setup
	$(BIN)/python -m study.tune --task imbalanced

test: setup check
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m benchmarks.mutants --check

# A link or reference that leads nowhere is an error.
docs: setup
	$(BIN)/python -m sphinx -W --keep-going -n -b html docs build/docs

# Publish a run's page, tables and record: make reference RUN=results/NAME
reference:
	mkdir -p results/reference/$(notdir $(RUN))
	cp $(RUN)/dashboard.html $(RUN)/study.json $(RUN)/verdict.json $(RUN)/*.parquet results/reference/$(notdir $(RUN))/

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
