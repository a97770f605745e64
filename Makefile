# srpo: `make loop` and `make test` are all a fresh machine needs; both install first what is missing.
PYTHON ?= python3
ITER   ?= 200
PRESET ?= laptop
RUN    ?= $(if $(filter laptop,$(PRESET)),runs/libero-object,runs/$(PRESET))
POLICY ?=
TORCH  ?= torch==2.13.0
# Without an NVIDIA driver PyTorch's CPU build is enough: 0.2 GB instead of several.
TORCH_INDEX ?= $(if $(shell command -v nvidia-smi),,--extra-index-url https://download.pytorch.org/whl/cpu)

BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check

.PHONY: install loop test test-all lint clean
install: .venv/installed

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "srpo needs Python 3.11 to 3.13; name one with: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 2; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || \
	  { echo "cannot make .venv; on Debian: apt install python3-venv" >&2; exit 2; }
	@echo "installing into .venv (a few minutes the first time)"
	@$(PIP) install -qq --retries 1 --no-deps "$(TORCH)" $(TORCH_INDEX)
	@$(PIP) install --quiet --editable ".[dev]"
	@touch $@

loop: install
	@$(BIN)/srpo loop $(RUN) --preset $(PRESET) --iterations $(ITER) $(if $(POLICY),--policy $(POLICY))

test: install
	$(BIN)/python -m pytest -m "not slow"

test-all: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
