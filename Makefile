# One door for newcomers, developers and continuous integration. `make` alone lists the targets.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --constraint constraints.txt

# The first Python that is new enough; 3.11 is the tested one. Choose another with `make PYTHON=/path/to/python …`.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help demo test check fix docs bench torture venv constraints

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/.installed  ## install, then run the whole job on real data (about 6 minutes on 2 cores)
	$(BIN)/tunesmith quickstart

# A file of tests stays in one process; `make test WORKERS=0` runs all of them in one.
WORKERS ?= 2

test: $(VENV)/.installed-dev  ## the whole test suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

check: $(VENV)/.installed-dev  ## lint, format, types, layers, policy tests (seconds)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/policy

fix: $(VENV)/.installed-dev  ## repair what the linter and the formatter can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-dev  ## write docs/reference/ anew from the code and from the measured figures
	$(BIN)/python docs/build_reference.py
	$(BIN)/python -m benchmarks page

bench: $(VENV)/.installed-dev  ## measure what we claim, beside the rivals
	$(BIN)/python -m benchmarks

torture: $(VENV)/.installed-dev  ## the random tests of answering, jobs and serving at their full size (hours on 2 cores)
	TUNESMITH_TORTURE=1 $(BIN)/python -m pytest --timeout 0 tests/model/test_engine_random.py tests/model/test_kv.py \
		tests/model/test_residency.py tests/model/test_tensorfile.py
	TUNESMITH_KILLS=1000 TUNESMITH_EVENTS=100000 $(BIN)/python -m pytest --timeout 14400 \
		tests/jobs/test_kill.py tests/web/test_jobs.py
	TUNESMITH_TIMES=50 $(BIN)/python -m pytest --timeout 0 tests/serve/test_traffic.py tests/web/test_operations.py

venv: $(VENV)/.installed-dev  ## only make the environment

constraints: $(VENV)/.installed-dev  ## write constraints.txt anew from the environment
	@{ head -n 1 constraints.txt; $(BIN)/python -m pip list --format=freeze --exclude-editable --exclude pip \
		--exclude setuptools | sed 's/+[a-z0-9.]*$$//'; } > constraints.new && mv constraints.new constraints.txt

# torch comes first and by itself: it is nearly all of the download, and any build of that version will do
# (README.md, "A CPU-only or a CUDA build of torch", says how to choose one).
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found; fix: make PYTHON=/path/to/python demo"; exit 2; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { set -x; $(PYTHON) -m venv --clear $(VENV); }
	$(PIP) torch==2.13.0
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	@touch $@
