# `make demo` and `make test` do all the set-up themselves, in .venv; nothing outside this folder.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
SOURCES := pyproject.toml constraints.txt

.PHONY: demo test lint format clean rllib lab assignments notebooks
.DEFAULT_GOAL := demo

demo: $(VENV)/.core
	$(BIN)/distmllm demo --out runs/demo

test: lint
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Jupyter, opened at the notebooks, and what grades assignments. All but 05 need nothing else.
lab: $(VENV)/.lab
	$(BIN)/jupyter lab --notebook-dir notebooks

# Student and instructor versions; `make assignments SALT=word` makes hidden tests of your own.
assignments: $(VENV)/.teach
	$(BIN)/distmllm assignments notebooks/assignments/a[0-9]*.py --out runs/assignments $(if $(SALT),--seed-salt "$(SALT)")

# Runs the notebooks and keeps what they print and draw beside their sources.
notebooks: $(VENV)/.teach
	$(BIN)/python notebooks/execute.py

# One iteration of RLlib's PPO, apart from the tests: Ray pins a Gymnasium of its own.
RLLIB := .venv-rllib
rllib: $(RLLIB)/.ready
	$(RLLIB)/bin/python tests/optional/rllib_one_iteration.py

$(RLLIB)/.ready: pyproject.toml
	$(PYTHON) -m venv $(RLLIB)
	$(RLLIB)/bin/python -m pip install --quiet --disable-pip-version-check \
		-e . "ray[rllib]==2.60.0" torch==2.13.0 gymnasium==1.2.2
	touch $@

clean:
	rm -rf $(VENV) $(RLLIB) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Constraints hold a known-good set; torch==2.13.0 there is a CPU build's version, where a bare
# `pip install torch` would take gigabytes of CUDA.
$(VENV)/.core: $(SOURCES) | $(BIN)/python
	$(INSTALL) -e .
	touch $@

$(VENV)/.lab: $(SOURCES) | $(BIN)/python
	$(INSTALL) -e ".[lab]"
	touch $@ $(VENV)/.core

$(VENV)/.teach: $(SOURCES) | $(BIN)/python
	$(INSTALL) -e ".[rl,fast,teach]"
	touch $@ $(VENV)/.core

$(VENV)/.dev: $(SOURCES) | $(BIN)/python
	$(INSTALL) -e ".[dev]"
	touch $@ $(VENV)/.core $(VENV)/.teach
