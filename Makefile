VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
# Processes that share the tests: one for each core.
WORKERS ?= auto
REPORTS = .pytest_cache/reports

.PHONY: help setup demo test test-slow verify slowest check audit-dependencies bench bench-check torture docs lock

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## Create .venv with the pinned packages

$(VENV)/.installed: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": name another with make PYTHON=...") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: on Debian, apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV), some 100 packages ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The main job on real Postgres and Kafka, to look at; Ctrl-C stops it.
demo: setup ## Show the main job on a real Postgres and Kafka until Ctrl-C
	@$(BIN)/codewell demo

# Unit tests, integration tests and one whole stack; tests/README.md says what each group costs.
test: setup ## Run the fast tests: unit, integration and one whole stack
	$(BIN)/pytest -m "not slow" -n $(WORKERS) --dist worksteal --junit-xml $(REPORTS)/fast.xml

# Real processes, kills, faults, servers with certificates, the deployment. Tests of one file share a stack.
test-slow: setup ## Run the slow tests: real processes, kills, faults, deployment
	$(BIN)/pytest -m "slow and not alone" -n $(WORKERS) --dist loadfile --junit-xml $(REPORTS)/slow.xml
	$(BIN)/pytest -m alone --junit-xml $(REPORTS)/alone.xml

# All that a change has to pass.
verify: check test test-slow ## Run all that a change has to pass

# The 50 slowest tests of the last `make test` and `make test-slow`.
slowest: setup ## List the 50 slowest tests of the last run
	@$(BIN)/python -m tests.slowest $(REPORTS)/*.xml

# Format, lint, types, layers, image and compose file.
check: setup ## Check format, lint, types, layers, image and compose file
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml

# Known vulnerabilities of what is pinned. It asks a service on the network, so `check` does not depend on it; what the
# service does not know fails it too.
audit-dependencies: ## List known vulnerabilities of the pinned packages (network)
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement constraints.txt

# Half an hour on a machine that does nothing else; writes docs/benchmarks.md.
bench: setup ## Run all benchmarks and write docs/benchmarks.md (30 minutes)
	$(BIN)/codewell bench all

# Some minutes: names what fell by more than a fifth of what `make bench` recorded.
bench-check: setup ## Name what became slower than docs/benchmarks.md (minutes)
	$(BIN)/codewell bench check

# Two hours: faults of every kind and every pair of kinds, and each guard taken out, which writes
# docs/reliability.md; then the model against the database, for half an hour.
torture: setup ## Inject faults of every kind and write docs/reliability.md (2 hours)
	rm -f docs/reliability/*-*.json
	$(BIN)/python -m torture without
	$(BIN)/python -m torture faults kinds --requests 500000 & kinds=$$!; \
	$(BIN)/python -m torture faults pairs --requests 500000; pairs=$$?; \
	wait $$kinds && test $$pairs -eq 0
	$(BIN)/python -m torture faults kills
	$(BIN)/python -m torture report
	CODEWELL_MODEL_EXAMPLES=500 $(BIN)/pytest tests/integration/model

# What is generated: JSON Schemas of the events, the table of settings, and the figures of recorded benchmarks.
docs: setup ## Regenerate schemas, the table of settings and benchmark figures
	$(BIN)/python -m schemas
	$(BIN)/python -m services.cli.settings_reference
	$(BIN)/python -m benchmarks.page

# Pin the newest versions that pyproject.toml allows; needs uv. The image holds no Postgres and no Java.
SERVICES = --extra issuer --extra generator --extra console --extra tracing
lock: ## Pin the newest versions that pyproject.toml allows (needs uv)
	uv pip compile pyproject.toml --extra standalone --extra tracing --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade --output-file constraints.txt
	uv pip compile pyproject.toml $(SERVICES) --constraints constraints.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --output-file deploy/constraints.txt
	echo hatchling | uv pip compile - --constraints constraints.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --output-file deploy/build-constraints.txt
