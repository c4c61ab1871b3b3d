# The doors for a newcomer: run, test, check, fix, bench. Everything is installed into .venv.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate
# Two cores, three processes: those that start the store, or look at it, wait most of the time.
PYTEST := $(BIN)/pytest -q -n 3 --dist loadgroup

.DEFAULT_GOAL := help
.PHONY: help run test check lint fix bench faults lock

help: ## these lines
	@sed -n 's/^\([a-z]*\):.*## /make \1	/p' Makefile

run: $(VENV)/run.stamp ## the store with demo data: website, worker and a sandbox provider
	@exec $(BIN)/python manage.py run

test: $(VENV)/dev.stamp ## the whole suite on SQLite, then on a PostgreSQL of its own
	$(PYTEST) -m "not postgresql"
	$(BIN)/python -m tests.postgres $(PYTEST) -m "not browser and not process and not sqlite"

check: lint test ## everything that must hold before a commit

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py translations check
	$(BIN)/python -m tests.production manage.py check --deploy --fail-level WARNING
	@if grep -n '://' requirements/*.txt; then echo "A lock file names an address."; exit 1; fi

fix: $(VENV)/dev.stamp ## mend what machines can: lint, format, translation files
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/python manage.py translations extract

bench: $(VENV)/dev.stamp ## how long the hot paths take, side by side
	$(BIN)/python -m tests.benchmarks

faults: $(VENV)/dev.stamp ## break everything on purpose, with real processes; prints the table
	$(BIN)/python -m tests.faults.matrix

lock: $(VENV)/uv.stamp ## requirements/*.txt anew, from pyproject.toml
	$(UV_COMPILE) requirements/uv.in --output-file requirements/uv.txt
	$(UV_COMPILE) pyproject.toml --output-file requirements/run.txt
	$(UV_COMPILE) pyproject.toml --extra dev --output-file requirements/dev.txt

# Stamps say which lock is installed: a second start installs nothing.
$(VENV)/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed. Name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "Python's venv module is missing: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/uv.stamp: requirements/uv.txt $(VENV)/python.stamp
	@echo "Installing the packages (once) ..."
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/uv.txt
	@touch $@

$(VENV)/run.stamp: requirements/run.txt $(VENV)/uv.stamp
	@$(UV_INSTALL) requirements/run.txt
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/uv.stamp
	@$(UV_INSTALL) requirements/dev.txt
	@touch $@
