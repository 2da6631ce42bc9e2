VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin

.PHONY: setup demo test check bench docs lock

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

bench: setup
	$(BIN)/codewell bench issue
	$(BIN)/codewell bench mint
	$(BIN)/codewell bench generate
	$(BIN)/codewell bench import
	$(BIN)/codewell bench http
	$(BIN)/codewell bench browse
	$(BIN)/codewell bench export
	$(BIN)/codewell bench fill
	$(BIN)/codewell bench remote
	$(BIN)/codewell bench processes

# What is generated from the code: JSON Schemas of the events, and the table of settings.
docs: setup
	$(BIN)/python -m schemas
	$(BIN)/python -m services.runtime.reference

# Pin the newest versions that pyproject.toml allows; needs uv.
lock:
	uv pip compile pyproject.toml --extra standalone --group dev --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade --output-file constraints.txt
	uv pip compile pyproject.toml --constraints constraints.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --output-file deploy/constraints.txt
	echo hatchling | uv pip compile - --constraints constraints.txt --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --output-file deploy/build-constraints.txt
