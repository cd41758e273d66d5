# `make help` lists what there is. Nothing outside this folder is changed, except that
# system packages that are missing are installed with apt-get, which it says.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install demo demo-grow demo-watch test test-fast test-nightly test-clients check-models test-faults test-readme check clean fetch engine clients chart-tools lock

export MYNAMO_CACHE ?= $(CURDIR)/.cache

BIN := .venv/bin
INSTALLED := .venv/.installed
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)

# $(call apt,packages): install system packages, or say what to do.
apt = if command -v apt-get >/dev/null && { [ "$$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then \
	as_root=""; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
	echo "installing system packages with apt-get: $(1)"; \
	$$as_root apt-get update -qq; \
	$$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) >/dev/null; \
	else echo "please install these system packages yourself: $(1)" >&2; false; fi

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

install: $(INSTALLED) ## make .venv with mynamo and all it needs, from requirements.lock

$(INSTALLED): requirements.lock pyproject.toml
	@[ -n "$(PYTHON)" ] || { echo "mynamo needs Python 3.11 or later; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { $(call apt,python3-venv); }
	@[ -x $(BIN)/pip ] || { echo "making .venv with $$($(PYTHON) --version)"; $(PYTHON) -m venv --clear .venv; }
	@echo "installing the packages of requirements.lock (about 480 MB in .venv)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--config-settings editable_mode=compat -e .  # found from any folder, also one up
	@touch $@

engine: install
	@$(BIN)/python -m mynamo.local.fetch engine

demo: engine ## show mynamo at work on this machine, with servers of its own
	@$(BIN)/mynamo demo

demo-grow: engine ## show a cluster grow from one shard to three under load (half an hour)
	@$(BIN)/mynamo demo-grow

PICTURES ?= .cache/dashboards

demo-watch: engine ## show failures on the dashboards and in the alerts (eleven minutes; PICTURES=folder)
	@$(BIN)/mynamo demo-watch --pictures $(PICTURES)

fetch: install ## download the servers to test with: MySQL, MariaDB, Apache Kafka
	@{ command -v java && command -v mvn; } >/dev/null || { $(call apt,default-jre-headless maven); } || true
	@for server in mysql mariadb kafka; do \
		$(BIN)/python -m mynamo.local.fetch $$server || \
		echo "WARNING: $$server could not be fetched; the tests go on without it" >&2; \
	done

clients: install ## download the clients to test with: SDKs and libraries in five languages, Chromium, Prometheus
	@{ command -v node && command -v npm; } >/dev/null || { $(call apt,nodejs npm); } || true
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { $(call apt,chromium); } || true
	@{ command -v javac && command -v mvn; } >/dev/null || { $(call apt,default-jdk-headless maven); } || true
	@command -v go >/dev/null || { $(call apt,golang-go); } || true  # 1.24 or later
	@command -v cargo >/dev/null || { $(call apt,cargo-web); } || { $(call apt,cargo gcc libc6-dev); } || true  # 1.94 or later
	@$(BIN)/python -m mynamo.local.fetch prometheus || \
		echo "WARNING: Prometheus could not be fetched; alert rules and pictures of dashboards are not tested" >&2
	@tests/clients/install.sh $(MYNAMO_CACHE)/clients $(BIN)/python || \
		echo "WARNING: some clients could not be installed; the tests go on without them" >&2

HELM := helm.sh/helm/v3/cmd/helm@v3.22.0

chart-tools: install ## download Helm and the schemas of Kubernetes, to test the chart with (compiles for minutes)
	@command -v go >/dev/null || { $(call apt,golang-go); } || true
	@GOBIN=$(MYNAMO_CACHE)/chart GOMODCACHE=$(MYNAMO_CACHE)/chart/go GOFLAGS=-modcacherw go install $(HELM)
	@rm -rf $(MYNAMO_CACHE)/chart/go
	@$(BIN)/python -m venv --clear $(MYNAMO_CACHE)/chart/venv
	@$(MYNAMO_CACHE)/chart/venv/bin/pip install --quiet --disable-pip-version-check --require-hashes \
		-r tests/chart/requirements.lock

PROCESSES ?= 4

SHARE = --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

test: fetch clients ## run all tests, with real servers and real clients (PROCESSES=4 at a time; TESTS=folders for some)
	@$(BIN)/python -m pytest $(TESTS) $(SHARE)

test-fast: fetch ## run the unit tests and most others, on MySQL, in some minutes
	@$(BIN)/python -m pytest tests/unit tests/integration tests/gateway --fast $(SHARE)

test-nightly: ## as `make test`, with ten times as many random tries
	@MYNAMO_TEST_AMOUNT=10 $(MAKE) --no-print-directory test

test-clients: engine clients ## run the tests with AWS's SDKs and tools against `mynamo dev`
	@$(BIN)/python -m pytest tests/clients

check-models: install ## check the models of protocols exhaustively, the large ones too (needs spin and gcc)
	@MYNAMO_ALL_MODELS=1 $(BIN)/python -m pytest tests/unit/test_*_model.py --numprocesses $(PROCESSES)

test-readme: ## follow the README to the letter in a fresh clone with an empty cache
	@$(PYTHON) -m tests.first_minutes  # needs port 8000, and downloads some 300 MB

SEED ?= 1
MINUTES ?= 2
ENGINE ?= mysql
BROKERS ?= 1
BROKER ?= apache

test-faults: fetch ## run the fault harness: make test-faults SEED=7 MINUTES=10 ENGINE=mariadb BROKERS=3, or BROKER=embedded
	@command -v cc >/dev/null || { $(call apt,gcc libc6-dev); } || true  # for clocks that jump
	@$(BIN)/python -m tests.faults.run --seed $(SEED) --minutes $(MINUTES) --engine $(ENGINE) --brokers $(BROKERS) --broker $(BROKER)

check: install ## run the linters, the type checker and the unit tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/unit -q --numprocesses $(PROCESSES)

UV_COMPILE = .cache/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header

lock: install ## pin the packages of pyproject.toml and of tests/clients anew
	@$(BIN)/python -m venv .cache/lock && .cache/lock/bin/pip install --quiet uv
	@echo 'setuptools>=77' > .cache/lock/build.in  # mynamo is built without isolation
	@echo '# Every package that mynamo and its tests need, pinned by hash; `make lock` writes it.' > requirements.lock
	@$(UV_COMPILE) --extra console --extra dev --extra local --extra plots --extra tracing pyproject.toml .cache/lock/build.in >> requirements.lock
	@echo '# Every package that mynamo needs at run time, pinned by hash; `make lock` writes it.' > deploy/requirements.lock
	@$(UV_COMPILE) --extra console --extra tracing pyproject.toml .cache/lock/build.in >> deploy/requirements.lock
	@echo '# Clients in Python to test with, pinned by hash; `make lock` writes it.' > tests/clients/requirements.lock
	@$(UV_COMPILE) tests/clients/requirements.in >> tests/clients/requirements.lock
	@echo '# Schemas of Kubernetes and what checks against them, pinned by hash; `make lock` writes it.' > tests/chart/requirements.lock
	@$(UV_COMPILE) tests/chart/requirements.in >> tests/chart/requirements.lock
	@cd tests/clients && npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund --loglevel=error
	@mvn -B -q -f tests/clients/java/pom.xml -Dmaven.repo.local=$(MYNAMO_CACHE)/m2 dependency:copy-dependencies -DoutputDirectory=$(CURDIR)/.cache/lock/jars
	@cd .cache/lock/jars && sha256sum *.jar > $(CURDIR)/tests/clients/java/SHA256SUMS
	@cd tests/clients/go && GOMODCACHE=$(CURDIR)/.cache/lock/go GOFLAGS=-modcacherw go mod tidy
	@cd tests/clients/rust && rm -f Cargo.lock && CARGO_HOME=$(CURDIR)/.cache/lock/cargo cargo generate-lockfile --quiet
	@sed -i '/^source = /d' tests/clients/rust/Cargo.lock  # the registry's address, which cargo knows

clean: ## delete .venv, .cache and what tools left; data in .mynamo stays
	rm -rf .venv .cache build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
