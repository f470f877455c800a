# Two commands do everything: `make study` and `make test`. Both make the virtual environment first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help study test check setup clean

help:
	@echo "make study   set up, then search, compare and show losses on long-tailed digits (about 8 min on 2 cores)"
	@echo "make test    set up, then the whole test suite (at most 15 min on 2 cores; needs chromium)"
	@echo "make check   ruff and mypy"

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

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache
