# Each target is complete on its own: a fresh clone needs nothing before it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
SHOP := $(VENV)/.shop
READY := $(VENV)/.ready
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# What a step outside a transaction has set for it.
SQUAWK_ALONE = $(BIN)/squawk --exclude=require-lock-timeout,require-statement-timeout
MIGRATIONS = $(wildcard src/rcommerce/database/migrations/sql/*.sql)

.PHONY: help install run test servers clients check audit format lock clean

help: ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(READY) ## the virtual environment in .venv with everything, from the locked requirements

# What the shop needs alone: everything else is installed when it is asked for. pip compiles one
# file after the other, which takes longer than all the rest: compileall uses every core.
$(SHOP): requirements.txt requirements-build.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "R Commerce needs Python 3.11 or newer; found $$($(PYTHON) --version). Try: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Creating the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "Installing $$(grep -c '^[a-z]' requirements.txt) packages (requirements.txt)"
	@$(PIP) --require-hashes -r requirements.txt -r requirements-build.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib src
	@touch $@

$(READY): $(SHOP) requirements-dev.txt
	@echo "Installing what tests, lab and deploy need (requirements-dev.txt)"
	@$(PIP) --require-hashes -r requirements-dev.txt
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib
	@touch $@

run: $(SHOP) ## a shop with demo data on http://127.0.0.1:8080
	@exec $(BIN)/rcommerce serve --demo

# Hundreds of processes are started: where PYTHONDONTWRITEBYTECODE is set, each would compile anew.
test: $(READY) servers clients ## everything, real servers included
	@$(BIN)/python -m compileall -q src
	$(BIN)/python -m pytest --numprocesses 3 --dist loadscope --no-loadscope-reorder --durations 10

# Debian's, of which the tests start processes of their own: program=packages.
SERVERS = pgbouncer=pgbouncer redis-server=redis-server varnishd=varnish,varnish-modules \
	openssl=openssl prometheus=prometheus haproxy=haproxy chromium=chromium \
	faketime=faketime amtool=prometheus-alertmanager docker-compose=docker-compose \
	systemd-analyze=systemd

servers: ## Debian's servers, for the tests: installed where root may, else said to be missing
	@PATH="$$PATH:/usr/sbin"; \
	for pair in $(SERVERS); do \
	  command -v "$${pair%%=*}" >/dev/null || missing="$$missing $$(echo "$${pair#*=}" | tr , ' ')"; \
	done; \
	[ -n "$$missing" ] || exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing Debian's$$missing"; \
	  apt-get update -qq >/dev/null; \
	  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
	    apt-get install -qq -y --no-install-recommends $$missing >/dev/null; \
	fi; \
	for pair in $(SERVERS); do \
	  command -v "$${pair%%=*}" >/dev/null \
	    || echo "$${pair%%=*} is missing (apt-get install $$(echo "$${pair#*=}" | tr , ' ')): the tests that need it are skipped"; \
	done

# From npm, by their lock: what lints the API's document, and generates a client from it.
clients: $(READY)
	@cd tests/clients && if ! cmp -s package-lock.json node_modules/.lock; then \
	  echo "Installing npm packages (tests/clients)"; \
	  PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --silent && cp package-lock.json node_modules/.lock \
	    || echo "npm's packages could not be installed: the API's document is not linted"; \
	fi

check: $(READY) clients ## format, lint, types, import rules, migrations, the API's document
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(BIN)/rcommerce openapi --out $(VENV)/openapi.json
	@[ ! -f tests/clients/node_modules/.lock ] || $(BIN)/node tests/clients/node_modules/@redocly/cli/bin/cli.js \
	  lint --config tests/clients/redocly.yaml $(VENV)/openapi.json
	$(BIN)/squawk --assume-in-transaction $(filter-out %.concurrently.sql,$(MIGRATIONS))
	$(if $(filter %.concurrently.sql,$(MIGRATIONS)),$(SQUAWK_ALONE) $(filter %.concurrently.sql,$(MIGRATIONS)))

audit: $(READY) ## known vulnerabilities of the locked dependencies; needs the internet
	$(BIN)/pip-audit --disable-pip --require-hashes -r requirements.txt

format: $(READY) ## put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Universal: for each Python from 3.11.0 on and each platform, not only for the one that locks.
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make lock"

lock: $(READY) ## lock the requirements anew: names, versions and hashes, no addresses
	$(LOCK) --constraint constraints.txt --output-file requirements.txt pyproject.toml
	$(LOCK) --constraint requirements.txt --output-file requirements-build.txt --group build
	$(LOCK) --constraint requirements-build.txt --extra dev --extra lab --extra deploy --constraint requirements.txt --output-file requirements-dev.txt pyproject.toml

clean: ## forget the virtual environment and the caches (never the data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
