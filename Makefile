# `make demo`, `make web` and `make test` set themselves up on a fresh machine: Python 3.10 or newer is all they need.
# They install exact, tested versions: constraints/renew says which and why.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar on
# Where torch's builds for the CPU are; PyPI has those for CUDA only, on Linux.
CPU_INDEX ?= https://download.pytorch.org/whl/cpu

.PHONY: demo web test test-slow lint types format constraints clean

demo: $(VENV)/.installed-demo
	$(BIN)/audio-enh demo -o demo

web: $(VENV)/.installed-web
	$(BIN)/audio-enh web

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --ignore=tests/streaming/live
	# Sound devices run in real time: no other tests beside them.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/streaming/live

test-slow: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) types VENV=$(VENV)

# Of the installed layout: in the checkout eval/ and streaming/ lie outside of the package that they belong to.
types: $(VENV)/.installed-dev
	rm -rf build
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir build/wheel .
	$(BIN)/python -m zipfile -e build/wheel/*.whl build/layout
	cd build/layout && $(abspath $(BIN))/python -m mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist demo *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# A fifth of the size of what the tests need; what is there already for them is enough.
$(VENV)/.installed-demo: pyproject.toml constraints/cpu.txt $(VENV)/bin/python
	@if [ -e $(VENV)/.installed-dev ]; then \
		$(MAKE) $(VENV)/.installed-dev; \
	else \
		echo "Installing into $(VENV): 0.4 GB to download, 1.8 GB on disk."; \
		$(PIP) --no-deps --index-url $(CPU_INDEX) -c constraints/cpu.txt torch \
			|| echo "torch for the CPU is out of reach: taking PyPI's build, with CUDA some 3 GB to download."; \
		$(PIP) -c constraints/cpu.txt -e ".[eval,live,export]"; \
	fi
	touch $@

# What the demo needs, and the page.
$(VENV)/.installed-web: pyproject.toml constraints/cpu.txt $(VENV)/bin/python
	@$(MAKE) $(VENV)/.installed-demo
	@[ -e $(VENV)/.installed-dev ] || $(PIP) -c constraints/cpu.txt -e ".[eval,live,export,web]"
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints/full.txt constraints/alone.txt $(VENV)/bin/python
	@echo "Installing into $(VENV): on Linux some 3 GB to download, 6 GB on disk, most of it torch with CUDA."
	$(PIP) -c constraints/full.txt -e ".[dev]"
	$(PIP) --no-deps -r constraints/alone.txt
	touch $@

constraints:
	constraints/renew
