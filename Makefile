VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
# Processes that share the tests. Limits of time in tests are for one a core.
WORKERS ?= $(shell getconf _NPROCESSORS_ONLN)
REPORTS = .pytest_cache/reports
# Each file in one process, in the order in which they were collected: what takes longest begins first.
BY_FILE = --dist loadfile --no-loadscope-reorder
# What measures time, after all others.
MEASURED = $(BIN)/pytest -m alone --junit-xml $(REPORTS)/alone.xml tests/e2e
# What runs longer at night.
LONGER = tests/integration/console/test_document.py tests/e2e/test_import_kills.py tests/integration/model
# The release before beside this one; `make verify` leaves it to `make test-slow` and the night.
UPGRADE = tests/e2e/test_old_beside_new.py
# The OpenAPI document; a test compares it with what the console serves.
OPENAPI = tests/snapshots/data/api/openapi.json

.PHONY: help setup demo test test-unit test-slow test-nightly verify slowest check check-types check-code check-documents audit-dependencies bench bench-check torture deploy-check docs vendor screenshots lock

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## Create .venv with the pinned packages

$(VENV)/.installed: constraints.txt pyproject.toml client/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": name another with make PYTHON=...") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: on Debian, apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV), some 100 packages ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . --editable client
	@touch $@

# The main job on real Postgres and Kafka, to look at; Ctrl-C stops it.
demo: setup ## Show the main job on a real Postgres and Kafka until Ctrl-C
	@$(BIN)/codewell demo

# Unit tests, integration tests and one whole stack; tests/README.md says what each group costs.
test: setup ## Run the fast tests: unit, integration and one whole stack
	$(BIN)/pytest -m "not slow" -n $(WORKERS) --dist worksteal --junit-xml $(REPORTS)/fast.xml

# With VENV=.venv-3.13 PYTHON=python3.13 on another Python.
test-unit: setup ## Run the unit tests alone, which need no server
	$(BIN)/pytest -n $(WORKERS) --dist worksteal --junit-xml $(REPORTS)/unit.xml tests/unit

# Real processes, kills, faults, servers with certificates, the deployment. Tests of one file share a stack.
test-slow: setup ## Run the slow tests: real processes, kills, faults, deployment
	$(BIN)/pytest -m "slow and not alone and not nightly" -n $(WORKERS) $(BY_FILE) --junit-xml $(REPORTS)/slow.xml
	$(BIN)/pytest -m nightly $(UPGRADE)
	$(MEASURED)

# What takes too long for each change, and longer runs of what `make verify` runs too: before a release.
test-nightly: setup ## Run the slowest tests, which verify leaves out (30 minutes)
	$(BIN)/pytest -m nightly -n $(WORKERS) $(BY_FILE) --junit-xml $(REPORTS)/nightly.xml
	CODEWELL_DOCUMENT_EXAMPLES=5 CODEWELL_IMPORT_KILLS=10 CODEWELL_MODEL_EXAMPLES=100 \
	$(BIN)/pytest -n $(WORKERS) $(BY_FILE) --junit-xml $(REPORTS)/longer.xml $(LONGER)

# All that a change has to pass. Both groups in one run: no process waits for the last tests of the first group.
verify: check ## Run all that a change has to pass
	$(BIN)/pytest -m "not alone and not nightly" -n $(WORKERS) $(BY_FILE) --junit-xml $(REPORTS)/all.xml
	$(MEASURED)

# The 50 slowest tests of the last `make test` and `make test-slow`.
slowest: setup ## List the 50 slowest tests of the last run
	@$(BIN)/python -m tests.slowest $(REPORTS)/*.xml

# Checkers that run on Node.js, as their formats' authors publish them.
tools/node_modules/.installed: tools/package.json tools/package-lock.json
	@command -v npm >/dev/null || { echo "Node.js 20 or newer is needed to check documents: on Debian, apt-get install npm" >&2; exit 1; }
	@npm ci --prefix tools --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@

# Format, lint, types, layers, image and compose file, documents: two at a time.
check: ## Check format, lint, types, layers, image, compose file and documents
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target setup tools/node_modules/.installed
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target check-types check-code check-documents

check-types:
	$(BIN)/mypy

check-code:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

check-documents:
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/squawk --config tools/squawk.toml --no-error-on-unmatched-pattern schemas/sql/*.sql
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
	node tools/asyncapi.mjs schemas/asyncapi.yaml
	node tools/ajv.mjs schemas/json/*.json
	tools/node_modules/.bin/spectral lint --quiet --fail-severity hint --ruleset tools/spectral.yaml $(OPENAPI)
	$(BIN)/python -m tools.chart check
	REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true tools/node_modules/.bin/redocly lint --config tools/redocly.yaml $(OPENAPI)

# Known vulnerabilities of what is pinned. It asks a service on the network, so `check` does not depend on it; what the
# service does not know fails it too.
audit-dependencies: ## List known vulnerabilities of the pinned packages (network)
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement constraints.txt

# Half an hour on a machine that does nothing else; writes docs/benchmarks.md.
bench: setup ## Run all benchmarks and write docs/benchmarks.md (30 minutes)
	$(BIN)/codewell bench all

# Names what fell by more than a fifth of what `make bench` recorded.
bench-check: setup ## Name what became slower than docs/benchmarks.md (15 minutes)
	$(BIN)/codewell bench check

# Two hours: faults of every kind and every pair of kinds, and each guard taken out, which writes
# docs/reliability.md; then the model against the database, for half an hour.
torture: setup ## Inject faults of every kind and write docs/reliability.md (2 hours)
	rm -f docs/reliability/*.json
	$(BIN)/python -m torture without
	$(BIN)/python -m torture faults kinds --requests 500000 & kinds=$$!; \
	$(BIN)/python -m torture faults pairs --requests 500000; pairs=$$?; \
	wait $$kinds && test $$pairs -eq 0
	$(BIN)/python -m torture faults kills
	$(BIN)/python -m torture brokers
	$(BIN)/python -m torture patroni
	$(BIN)/python -m torture report
	CODEWELL_MODEL_EXAMPLES=500 $(BIN)/pytest tests/integration/model

# The images, built by Buildah and run by Podman (as root; Debian's packages); and the chart on a real control plane with
# fake nodes, scaled by KEDA from a real Kafka. Needs Go 1.26 or newer; the first run makes a base and builds Kubernetes
# and the others, some 30 minutes. Writes its figures into docs/operations/images.md and docs/kubernetes.md.
deploy-check: setup ## Try images, compose file and chart on real engines (minutes; first 30)
	$(BIN)/python -m deploy.check

# What is generated: JSON Schemas of the events, the AsyncAPI document, the tables of settings and of problems, and the
# figures of recorded benchmarks.
docs: setup ## Regenerate schemas, tables of settings and problems, and benchmark figures
	$(BIN)/python -m schemas
	$(BIN)/python -m services.cli.settings_reference
	$(BIN)/python -m services.console.problems_reference
	$(BIN)/python -m benchmarks.page
	$(BIN)/python -m tools.chart files

# The console's pages load them from the console itself; vendor.toml pins each file.
vendor: setup ## Get the files of other authors that pages load (needs npm)
	$(BIN)/python tools/vendor.py

# Look at them before they are committed.
screenshots: setup ## Write pictures of every screen of the console to docs/console
	$(BIN)/pytest tests/browser/screenshots.py

# Pin the newest versions that pyproject.toml allows; needs uv. The image holds no Postgres and no Java.
SERVICES = --extra issuer --extra generator --extra console --extra oidc --extra tracing
lock: ## Pin the newest versions that pyproject.toml allows (needs uv)
	uv pip compile pyproject.toml --extra standalone --extra oidc --extra tracing --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade --output-file constraints.txt
	uv pip compile pyproject.toml $(SERVICES) --constraints constraints.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --output-file deploy/constraints.txt
	uv pip compile deploy/build-requirements.txt --constraints constraints.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --output-file deploy/build-constraints.txt
