VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin

.PHONY: setup demo test check audit-dependencies bench bench-check torture docs lock

setup: $(VENV)/.installed

$(VENV)/.installed: constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": name another with make PYTHON=...") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing: on Debian, apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV), some 100 packages ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The main job on real Postgres and Kafka, to look at; Ctrl-C stops it.
demo: setup
	@$(BIN)/codewell demo

test: setup
	$(BIN)/pytest

# Format, lint, types, layers, image and compose file.
check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint deploy/Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml

# Known vulnerabilities of what is pinned. It asks a service on the network, so `check` does not depend on it; what the
# service does not know fails it too.
audit-dependencies:
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement constraints.txt

# Half an hour on a machine that does nothing else; writes docs/benchmarks.md.
bench: setup
	$(BIN)/codewell bench all

# Some minutes: names what fell by more than a fifth of what `make bench` recorded.
bench-check: setup
	$(BIN)/codewell bench check

# Two hours: faults of every kind and every pair of kinds, and each guard taken out, which writes
# docs/reliability.md; then the model against the database, for half an hour.
torture: setup
	rm -f docs/reliability/*-*.json
	$(BIN)/python -m tests.faults without
	$(BIN)/python -m tests.faults faults kinds --requests 500000 & kinds=$$!; \
	$(BIN)/python -m tests.faults faults pairs --requests 500000; pairs=$$?; \
	wait $$kinds && test $$pairs -eq 0
	$(BIN)/python -m tests.faults faults kills
	$(BIN)/python -m tests.faults report
	CODEWELL_MODEL_EXAMPLES=500 $(BIN)/pytest tests/integration/model

# What is generated: JSON Schemas of the events, the table of settings, and the figures of recorded benchmarks.
docs: setup
	$(BIN)/python -m schemas
	$(BIN)/python -m services.runtime.reference
	$(BIN)/python -m services.bench.page

# Pin the newest versions that pyproject.toml allows; needs uv. The image holds no Postgres and no Java.
SERVICES = --extra issuer --extra generator --extra console --extra tracing
lock:
	uv pip compile pyproject.toml --extra standalone --extra tracing --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade --output-file constraints.txt
	uv pip compile pyproject.toml $(SERVICES) --constraints constraints.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --output-file deploy/constraints.txt
	echo hatchling | uv pip compile - --constraints constraints.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --output-file deploy/build-constraints.txt
