# make toy    set everything up and run the toy campaign, end to end
# make test   set everything up and run the tests
# make lint   set everything up and check style, types, the workflow, and that the documentation makes a site
# make bench  measure speed and memory side by side with others; figures go to benchmarks/
# make site   build the documentation as a site, in site/
# make dist   wheel and source distribution, checked, in dist/
# make lock   renew the pinned versions
SHELL := /bin/bash
# The first Python that is new enough, not too new, and can make an environment.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
  $$p -c 'import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && \
  { echo $$p; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
CORES ?= all
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES)
TOY := --configfile tests/toy/config.yaml

.PHONY: toy test lint bench site dist lock setup clean
.DELETE_ON_ERROR:

setup: $(VENV)/.ready

# The stamp comes last, so that a set-up that was killed is taken up again.
$(VENV)/.ready: envs/requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || \
	  { echo "Vitrion needs Python 3.11, 3.12 or 3.13 with venv (Debian: python3-venv); name one: make PYTHON=/path/to/python" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r envs/requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# GPAW compiles with any C++ compiler; its sources are C++ in files named .c.
$(VENV)/.dft-ready: envs/dft.lock $(VENV)/.ready
	CC=$${CXX:-g++} $(BIN)/pip install --quiet --disable-pip-version-check -r envs/dft.lock
	touch $@

# A lock left behind by a killed run is removed, but only when that run and its jobs are gone:
# they hold the file lock until they end.
toy: $(VENV)/.ready
	@mkdir -p .snakemake && exec 9> .snakemake/make-toy.lock && \
	  { flock --nonblock 9 || { echo "make toy: another run is still going on; wait for it or end it" >&2; exit 2; }; } && \
	  $(SNAKEMAKE) $(TOY) --unlock --quiet all && $(SNAKEMAKE) $(TOY)
	@echo "Report: results/toy/report/index.html   tables: results/toy/summary/"

# A file of tests stays in one process, so that what its tests share is made once. tests/conftest.py
# sets the order of the files and the number of processes.
test: $(VENV)/.dft-ready system
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations 25

# Debian packages that some tests need; those tests are skipped, and say so, where they are missing.
SYSTEM := slurm-wlm munge slurmdbd mariadb-server chromium
.PHONY: system
system:
	@missing="$$(for p in $(SYSTEM); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done | xargs)"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then echo "make test: not Debian; without $$missing" >&2; exit 0; fi; \
	if [ "$$(id -u)" = 0 ]; then SUDO=; elif sudo -n true 2>/dev/null; then SUDO=sudo; \
	else echo "make test: no root or sudo, so without $$missing" >&2; exit 0; fi; \
	$$SUDO apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	  $$SUDO apt-get install -qq -y --no-install-recommends $$missing >/dev/null || \
	  echo "make test: could not install $$missing; their tests are skipped" >&2

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(SNAKEMAKE) --lint
	$(SNAKEMAKE) $(TOY) --lint
	$(MAKE) --no-print-directory site

bench: $(VENV)/.ready
	$(BIN)/vitrion bench md --json benchmarks/md.json
	$(BIN)/vitrion bench finetune --threads 1 --json benchmarks/finetune.json
	$(BIN)/vitrion bench analyze --json benchmarks/analyze.json

site: $(VENV)/.ready
	rm -rf build/site && mkdir -p build/site
	git ls-files '*.md' '*.png' '*.tsv' '*.json' '*.yaml' '*.ipynb' '*.cff' | xargs cp --parents --target-directory build/site
	$(BIN)/mkdocs build --strict --quiet

dist:
	rm -rf dist && $(PYTHON) -m venv build/dist-venv
	build/dist-venv/bin/pip install --quiet --disable-pip-version-check build twine
	build/dist-venv/bin/python -m build --outdir dist .
	build/dist-venv/bin/twine check --strict dist/*

# torch is held back: results are reproduced with one version, and newer wheels are several GB.
lock:
	$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install --quiet pip-tools
	$(VENV)-lock/bin/pip-compile --quiet --upgrade --upgrade-package torch==2.13.0 --extra dev --extra formats --extra slurm \
	  --strip-extras --allow-unsafe --no-emit-find-links --no-emit-index-url --no-header --no-annotate \
	  -o envs/requirements.lock pyproject.toml
	sed -i 's/+cpu$$//' envs/requirements.lock
	rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) results/toy
