# Everything a person types. It sets itself up: all it needs beforehand is git, make, python3 and
# python3-venv. What it installs goes to .venv and .local in this folder.

PYTHON ?= python3
# Tests that are run at once, of one file each; 0 for one after the other. More than a small machine
# has cores: half of the time a test waits.
TEST_WORKERS ?= 4
UV_VERSION := 0.13.8

BIN := .venv/bin
UV := .local/uv/bin/uv
UV_READY := .local/uv/ready-$(UV_VERSION)
# Named after this folder: an environment that was moved or copied with it still leads to the old one.
VENV_READY := .venv/ready-$(shell echo '$(CURDIR)' | cksum | cut -d ' ' -f 1)

SOURCES := shared/src $(wildcard services/*/src) services/clients/python/src $(wildcard deploy/*/src)
SQL := shared services deploy/postgres
comma := ,
empty :=
space := $(empty) $(empty)

# This machine's Python, its package settings and its own trusted certificates where it has them.
export UV_PYTHON := $(PYTHON)
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS := $(if $(wildcard /etc/ssl/certs/ca-certificates.crt),true,false)
unexport VIRTUAL_ENV UV_PROJECT_ENVIRONMENT
# What Python has compiled it keeps, beside the sources: or every process here would compile it all anew.
unexport PYTHONDONTWRITEBYTECODE

export MYPYPATH := $(subst $(space),:,$(SOURCES) tests)

.DEFAULT_GOAL := help
.PHONY: help setup demo up down test check format bench
.DELETE_ON_ERROR:

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV_READY)  ## Set everything up, run Freehold for three tenants, and prove what it promises
	@$(BIN)/freehold-local demo

demo up: export FREEHOLD_OBSERVE = $(OBSERVE)

up: $(VENV_READY)  ## Start Postgres, RabbitMQ and the four services; with OBSERVE=1 Prometheus, too
	@$(BIN)/freehold-local up

down: $(VENV_READY)  ## Stop them; the data stays
	@$(BIN)/freehold-local down

# Tests take Docker's servers where an engine answers, and programs of this machine where not.
test: $(VENV_READY)  ## Run all tests (10 to 20 minutes)
	@$(BIN)/freehold-local install || docker info >/dev/null 2>&1
	$(BIN)/python -m pytest tests --ignore=tests/bench --numprocesses=$(TEST_WORKERS) --dist=loadgroup --no-loadscope-reorder \
	  --durations=20

check: $(VENV_READY)  ## Check lock file, format, lint, types, SQL, imports and the OpenAPI document
	$(UV) lock --check
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy $(SOURCES) tests
	$(BIN)/sqlfluff lint $(SQL)
	$(BIN)/lint-imports
	$(BIN)/python -m freehold_local.openapi --check
	$(BIN)/python -m freehold_client_generator --check
	$(BIN)/python -m freehold_observe --check

format: $(VENV_READY)  ## Format code and SQL, mend what can be mended, write anew what is made of code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/sqlfluff fix $(SQL)
	$(BIN)/python -m freehold.http.problem_guide services/guides/errors.md
	$(BIN)/python -m freehold_local.openapi
	$(BIN)/python -m freehold_client_generator
	$(BIN)/python -m freehold_observe

bench: $(VENV_READY)  ## Measure throughput and lag on this machine
	@$(BIN)/freehold-local install
	$(BIN)/python -m pytest tests/bench -s

setup: $(VENV_READY)  ## Install what the other commands need, and no more

$(VENV_READY): uv.lock pyproject.toml $(wildcard */pyproject.toml */*/pyproject.toml */*/*/pyproject.toml) $(UV_READY)
	@[ ! -e .venv ] || grep -qsF '$(CURDIR)/.venv' .venv/bin/activate || rm -rf .venv
	@$(UV) sync --quiet --frozen --all-packages --compile-bytecode
	@touch $@

$(UV_READY):
	@command -v $(PYTHON) >/dev/null || { \
	  echo "Python is missing. On Debian or Ubuntu:  sudo apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or later is needed, and $(PYTHON) is $$($(PYTHON) -V)."; \
	  echo "Where a later one is installed:  make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "Python's venv is missing. On Debian or Ubuntu:  sudo apt-get install python3-venv"; exit 1; }
	@echo "Setting up, once: uv $(UV_VERSION) into .local, then Freehold and what it needs into .venv"
	@mkdir -p .local
	@$(PYTHON) -m venv --clear .local/uv
	@.local/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@
