# Two commands: `make repro` (videos to metrics) and `make test` (linter, types, tests).
# `make test-all` adds the tests marked slow: whole runs, ten kills of runs and of machines, all
# damaged videos, stages on object storage.
# `make repro PRESET=rml ROOT=/data/RML` first puts params/rml.yaml and the root into params.yaml
# (MANIFEST=... and VARIANT=... too, where a set needs them); without PRESET it stays as it is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# files in the order that tests/conftest.py gives them, so that no core waits for the other's last
PYTEST := $(BIN)/pytest -q --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# the stages of dvc.yaml call `python`: it must be this one
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: repro test test-all test-only test-all-only lint install install-dev prepare clean

repro: install prepare
	$(if $(PRESET),$(BIN)/arpgnet data use "$(PRESET)" $(if $(ROOT),"$(ROOT)") $(if $(MANIFEST),--manifest "$(MANIFEST)") $(if $(VARIANT),--variant "$(VARIANT)"))
	$(BIN)/dvc repro
	@echo "metrics: reports/metrics.json   page: reports/index.html"

# mypy has one process: it runs beside the first tests
test test-all: install-dev
	$(MAKE) --no-print-directory --jobs 2 lint $@-only

test-only:
	$(PYTEST) -m "not slow"

test-all-only:
	$(PYTEST)

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

install: $(VENV)/installed
install-dev: $(VENV)/installed-dev

# pip compiles what it installs with one process, 42 s of 84: all cores do it afterwards, without the
# packages' tests. What is not compiled costs each of the first run's processes its own time.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --no-compile --editable
COMPILE := $(BIN)/python -m compileall -q -j 0 -x '/tests/' $(VENV)/lib >/dev/null || true

$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) .
	$(COMPILE)
	touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) '.[dev]'
	$(COMPILE)
	touch $(VENV)/installed $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

# git and DVC where the folder lacks them; a commit and an identity are needed by `dvc exp` only
prepare: install
	@git rev-parse --is-inside-work-tree >/dev/null 2>&1 || { git init --quiet && echo "made a git repository here"; }
	@test -d .dvc || $(BIN)/dvc init --quiet
	@$(BIN)/arpgnet doctor --repair
	@git rev-parse --verify --quiet HEAD >/dev/null || echo "note: dvc exp needs a first commit (git add . && git commit); dvc repro does not"
	@git var GIT_COMMITTER_IDENT >/dev/null 2>&1 || echo "note: dvc exp needs git config user.name and user.email; dvc repro does not"

clean:
	rm -rf $(VENV) data artifacts reports dvc_plots
