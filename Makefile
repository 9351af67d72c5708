# make demo   three real sounds to .spr and back, a table and demo/demo.png; needs only Python >= 3.11
# make test   the test suite        make slow   its slow lane        make lint   ruff

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INPUTS := pyproject.toml constraints.txt

.PHONY: demo test slow lint clean

demo: $(VENV)/installed-plot
	OMP_WAIT_POLICY=passive $(BIN)/python benchmarks/demo.py

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest

slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed-plot: $(INPUTS) | $(VENV)/bin/python
	$(PIP) -e '.[plot]'
	touch $@

$(VENV)/installed-dev: $(INPUTS) | $(VENV)/bin/python
	$(PIP) -e '.[dev,plot]'
	touch $@ $(VENV)/installed-plot

clean:
	rm -rf $(VENV) demo build *.egg-info
