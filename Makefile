# `make audit` and `make test` need only Python 3.11+ and git; both make .venv first.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= runs

.PHONY: audit test mutation docs dist gpu clean

audit: .venv/installed
	$(BIN)/layerlocal audit --out $(OUT)

test: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 2 --dist load

mutation: .venv/installed-dev
	$(BIN)/python scripts/mutation_test.py

docs: .venv/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

# The wheel and the source distribution in dist/, as an index takes them; what is in them is held by tests/test_install.py.
dist: .venv/installed-dev
	rm -rf build dist src/layerlocal.egg-info
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

# All that needs a GPU, in nine minutes of one: its tests, speed and memory, CIFAR to 94 %. With the torch that is there, in .venv or beside it.
# SMOKE=1 tries it on the CPU in two minutes; ARGS are those of the script (`--data DIR`, `--minutes 5`).
gpu:
	PYTHONPATH=src $(firstword $(wildcard $(BIN)/python) $(PYTHON)) benchmarks/gpu_protocol.py --out $(OUT) $(if $(SMOKE),--smoke) $(ARGS)

.venv/bin/python:
	$(PYTHON) -c "import sys; sys.exit('layerlocal needs Python 3.11 or newer, this is ' + sys.version.split()[0] if sys.version_info < (3, 11) else 0)"
	$(PYTHON) -m venv .venv

# Which build of PyTorch: scripts/install.py says it, and takes the small one for CPUs where it can.
.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python scripts/install.py hub figures
	touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python scripts/install.py dev
	touch $@ .venv/installed .venv/installed-docs

.venv/installed-docs: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python scripts/install.py docs hub figures
	touch $@ .venv/installed

clean:
	rm -rf .venv build dist site .pytest_cache .mypy_cache .ruff_cache
