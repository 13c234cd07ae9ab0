# Every target does its own set-up in .venv and is quick the second time. `make help` lists them.
#
#   PY=python3 make gpu     use an environment that exists already (conda, a cluster's image); nothing is installed

VENV := .venv
BENCH_VENV := .bench-venv
PIP := -m pip install --disable-pip-version-check $(if $(CI),--quiet)

# Processes that share the tests; each computes with one thread, and a file's tests stay together.
WORKERS ?= 2

# Worker threads that wait sleep instead of spinning: on a machine that others use too, small models run twice as fast.
export OMP_WAIT_POLICY ?= PASSIVE

ifdef PY
PYTHON := $(PY)
BENCH_PYTHON := $(PY)
COMMAND := $(PY) -c "import sys; from landscape.__main__ import main; sys.exit(main())"
else
PYTHON := $(VENV)/bin/python
BENCH_PYTHON := $(BENCH_VENV)/bin/python
COMMAND := $(VENV)/bin/landscape
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
READY_BENCH := $(BENCH_VENV)/.ready
endif

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo gallery pictures test test-all lab lint bench gpu clean

help: ## List the targets
	@echo "make demo is the place to start. The targets:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(READY) ## Run the tour notebook and say where its page is (minutes)
	@mkdir -p out
	$(COMMAND) notebook run 00_tour --out out

gallery: $(READY) ## Run all notebooks quickly and make out/gallery/index.html of them
	$(COMMAND) notebook gallery --out out/gallery

pictures: $(READY) ## Make the pictures of the README anew, by the tour
	$(COMMAND) notebook run 00_tour --out out
	$(PYTHON) -m landscape.notebooks.pictures out/00_tour.ipynb docs

test: $(READY_DEV) ## Run the tests, without the slow ones
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n $(WORKERS) --dist loadfile

test-all: $(READY_DEV) ## Run all tests, the slow ones too
	$(PYTHON) -m pytest -m ""

lab: $(READY) ## Open JupyterLab on the notebooks, for this machine only
	$(PYTHON) -m jupyter lab --ServerApp.ip=127.0.0.1 notebooks

lint: $(READY_DEV) ## Check style (ruff) and types (pyright)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m pyright

bench: $(READY_BENCH) ## Measure speed side by side with other packages, in .bench-venv
	env -u OMP_WAIT_POLICY $(BENCH_PYTHON) -m benchmarks

gpu: $(READY_DEV) ## Run the tests and benchmarks that need a CUDA device
	@if $(PYTHON) -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then \
		$(PYTHON) -m pytest -m gpu \
			$$(grep -rl --include='*.py' 'mark\.gpu' tests) || { status=$$?; test $$status -eq 5 || exit $$status; }; \
		$(PYTHON) -m benchmarks --gpu; \
	else \
		echo "There is no CUDA device on this machine, so there is nothing to run here."; \
	fi

clean: ## Remove what the targets made; data/ and runs/ stay
	rm -rf $(VENV) $(BENCH_VENV) out build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@for name in python3.13 python3.12 python3.11 python3 python; do \
		if $$name -c "import sys; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1; then \
			echo "Making $(VENV) with $$name ($$($$name -c 'import platform; print(platform.python_version())'))"; \
			$$name -m venv $(VENV) && exit 0; \
			rm -rf $(VENV); \
			echo "$$name could not make a virtual environment." \
				"On Debian and Ubuntu: apt-get install python3-venv." >&2; \
			exit 1; \
		fi; \
	done; \
	echo "Python 3.11 or newer is needed; python3.13, python3.12, python3.11 and python3 are missing or older." \
		"Install one, or name an environment that has everything: PY=/path/to/python make ..." >&2; \
	exit 1

$(VENV)/.ready: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV) (the first time: minutes, and several GB where torch comes with CUDA)"
	$(VENV)/bin/python $(PIP) -c constraints.txt -e .
	@touch $@

$(VENV)/.ready-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV) (the first time: minutes, and several GB where torch comes with CUDA)"
	$(VENV)/bin/python $(PIP) -c constraints.txt -e '.[dev]'
	@touch $(VENV)/.ready $@

# The packages to compare with live apart from .venv, but on top of it: both sides use one and the same torch.
$(BENCH_VENV)/.ready: $(VENV)/.ready benchmarks/requirements.txt
	@rm -rf $(BENCH_VENV) && $(VENV)/bin/python -m venv $(BENCH_VENV)
	@$(BENCH_PYTHON) -c "import pathlib, sys, sysconfig; pathlib.Path(sysconfig.get_path('purelib'), \
		'base.pth').write_text(sys.argv[1])" "$$($(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	@grep -v '^ *\(#\|$$\)' benchmarks/requirements.txt | while read -r peer; do \
		$(BENCH_PYTHON) $(PIP) --quiet -c constraints.txt $$peer </dev/null || \
			echo "$$peer could not be installed here; its comparisons are left out."; \
	done
	@touch $@
