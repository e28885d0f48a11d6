# Everything runs in a virtual environment of its own, made on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# One thread: on busy machines two can be several times slower than one.
export OMP_NUM_THREADS ?= 1

.PHONY: setup demo test test-slow lint bench models clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "irkd needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

demo: $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" sh demo.sh

test: $(READY)
	$(BIN)/python -m pytest -n logical --maxprocesses 4

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# about two hours
bench: $(READY)
	$(BIN)/python -m bench
	$(BIN)/python -m bench.method_steps

# hours; MODELS="denoise" makes one of them
models: $(READY)
	PATH="$(CURDIR)/$(BIN):$$PATH" sh models.sh $(MODELS)

clean:
	rm -rf build dist .pytest_cache .hypothesis .mypy_cache .ruff_cache
