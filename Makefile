# Two commands: `make repro` (videos to metrics) and `make test` (linter, types, tests).
# `make faults` is the long form of the fault suites, of which `make test` runs a part;
# `make cluster-test` that of the cluster engine and the store on object storage.
# `make repro PRESET=rml ROOT=/data/RML` first puts params/rml.yaml and the root into params.yaml
# (MANIFEST=... and VARIANT=... too, where a set needs them); without PRESET it stays as it is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# the stages of dvc.yaml call `python`: it must be this one
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: repro test faults cluster-test install install-dev prepare clean

repro: install prepare
	$(if $(PRESET),$(BIN)/arpgnet data use "$(PRESET)" $(if $(ROOT),"$(ROOT)") $(if $(MANIFEST),--manifest "$(MANIFEST)") $(if $(VARIANT),--variant "$(VARIANT)"))
	$(BIN)/dvc repro
	@echo "metrics: reports/metrics.json   page: reports/index.html"

test: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

faults: install-dev
	ARPGNET_FAULTS=long $(BIN)/pytest -q tests/faults tests/test_end_to_end.py

cluster-test: install-dev
	ARPGNET_FAULTS=long $(BIN)/pytest -q tests/pipeline/cluster tests/pipeline/store tests/faults/test_cluster.py

install: $(VENV)/installed
install-dev: $(VENV)/installed-dev

$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: pyproject.toml $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

# git and DVC where the folder lacks them; a commit and an identity are needed by `dvc exp` only
prepare: install
	@git rev-parse --is-inside-work-tree >/dev/null 2>&1 || { git init --quiet && echo "made a git repository here"; }
	@test -d .dvc || $(BIN)/dvc init --quiet
	@test -s .dvc/tmp/rwlock || rm -f .dvc/tmp/rwlock # DVC, killed while it wrote it, leaves it empty and refuses it
	@git rev-parse --verify --quiet HEAD >/dev/null || echo "note: dvc exp needs a first commit (git add . && git commit); dvc repro does not"
	@git var GIT_COMMITTER_IDENT >/dev/null 2>&1 || echo "note: dvc exp needs git config user.name and user.email; dvc repro does not"

clean:
	rm -rf $(VENV) data artifacts reports dvc_plots
