# Two commands do everything on a machine with Python 3.11 or 3.12 and make:
#   make demo    run the flights pipeline on real data with the embedded engine
#   make test    install and start what the tests need, then run all of them

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3,$(shell command -v $(name))))
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=

.PHONY: demo test check unit docs constraints clean help

help:
	@sed -n 's/^#   //p' $(MAKEFILE_LIST)

# uv installs in seconds what takes pip minutes; where it cannot be had, pip does the same work. Bytecode is
# made here because PYTHONDONTWRITEBYTECODE, common in containers, would make every later start pay for it.
define install
	$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt uv 2>/dev/null \
	  && $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[$(1)]' \
	  || $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(1)]'
	@$(BIN)/python -m compileall -q rayetl
	@touch $@
endef

$(VENV)/.demo: pyproject.toml constraints.txt
	$(call install,demo)

$(VENV)/.dev: pyproject.toml constraints.txt
	$(call install,dev)

demo: $(VENV)/.demo
	@$(BIN)/python tools/flights_data.py data/flights
	$(BIN)/rayetl run configs/flights.yaml

test: check unit

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/.dev
	tests/services/install
	$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

docs: $(VENV)/.dev
	$(BIN)/python -m rayetl.config.reference --write
	$(BIN)/python -m rayetl.steps.reference > docs/steps.md
	$(BIN)/python -m rayetl.cli.reference > docs/cli.md

constraints:
	$(BIN)/uv pip compile --universal --python-version 3.11 --all-extras --no-emit-index-url --no-emit-find-links \
	  --no-header --no-annotate --upgrade pyproject.toml tools/uv.in -o constraints.txt

clean:
	rm -rf $(VENV) data out .rayetl build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
