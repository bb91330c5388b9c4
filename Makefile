# make demo   the environment; on drawn images three localizers of one network, a sweep, refined
#             labels, and a table, a picture (build/demo.png) and pages (build/demo) of them all
# make test   the environment, the checks, most tests: those that start Ray beside all others, which
#             run in two processes and give way to them
# make check  ruff, mypy and the import rules
# make test-shared  the tests on real images and label files, which lie in ../shared/data
# make fuzz   damaged files and hostile words, 24 times as many as in the tests: half an hour on
#             two busy cores
# make test-cluster  whole jobs on several nodes, in a bucket, and under faults; Ray Train's errors,
#             workers and rungs; compiled networks; too little address space: 80 minutes
# make audit  known holes of what requirements.lock pins; needs the internet
# make docs   the documentation site, in build/site
# make bench  each stage beside the way it is usually run, in one table; kept for the dashboard

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := build/uv/bin/uv
UV_VERSION := 0.13.8
READY := $(VENV)/.ready
export RAY_USAGE_STATS_ENABLED = 0
# Tests start many processes, and each would compile all modules again.
unexport PYTHONDONTWRITEBYTECODE
# Temporary files of tests lie in memory where there are 4 GB for them.
IN_MEMORY := $(shell df -P -k /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 4000000 {print "/dev/shm"}')

.PHONY: demo test test-ray test-plain test-plain-jobs test-plain-rest test-shared test-cluster check types fuzz audit bench docs env lock clean

env: $(READY)

$(UV):
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "wsss needs Python 3.11 or later, this is " + sys.version)'
	$(PYTHON) -m venv build/uv
	build/uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(READY): requirements.lock pyproject.toml | $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) $(VENV)
	VIRTUAL_ENV=$(VENV) $(UV) pip sync --quiet --compile-bytecode --require-hashes requirements.lock
	VIRTUAL_ENV=$(VENV) $(UV) pip install --quiet --no-deps --editable .
	touch $@

lock: $(UV)
	$(UV) pip compile pyproject.toml --group dev --group docs --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
	    --quiet --output-file requirements.lock

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) types
	$(BIN)/pytest -q tests/house

types: $(READY)
	@mkdir -p build/types && ln -sfn ../.. build/types/wsss
	MYPYPATH=build/types $(BIN)/mypy -p wsss.platform -p wsss.methods -p wsss.tune_spaces -p wsss.dashboards

demo: export WSSS_STORE = store
demo: $(READY)
	$(BIN)/wsss data scenes
	$(BIN)/wsss compare cam lpcam cam:sipe
	$(BIN)/wsss sweep cam --localizer sipe --space localizer --name sipe
	$(BIN)/wsss run store/sweeps/sipe/best.yaml --refine irn --set refine.walk_background=true --name tuned
	$(BIN)/wsss compare cam lpcam cam:sipe tuned --picture build/demo.png
	$(BIN)/wsss report build/demo

test: $(READY)
	$(MAKE) --jobs 3 --output-sync=target test-ray test-plain check

test-ray: $(READY)
	$(BIN)/pytest -q tests/pipeline tests/ray_runtime -m "cluster and not faults"

test-ray test-plain-jobs test-plain-rest: export TMPDIR := $(or $(IN_MEMORY),$(TMPDIR),/tmp)

PLAIN := nice -n 19 $(BIN)/pytest -q -m "not cluster and not faults and not shared"
JOBS := tests/pipeline tests/stages tests/oracles tests/methods tests/models

test-plain: test-plain-jobs test-plain-rest

test-plain-jobs: $(READY)
	$(PLAIN) $(JOBS)

test-plain-rest: $(READY)
	$(PLAIN) tests $(addprefix --ignore ,tests/house $(JOBS))

test-shared: $(READY)
	$(BIN)/pytest -q tests -m shared

test-cluster: $(READY)
	$(BIN)/pytest -q tests -m faults

audit: $(READY)
	build/uv/bin/uvx pip-audit --disable-pip --no-deps --requirement requirements.lock

fuzz: $(READY)
	WSSS_FUZZ=12 $(BIN)/pytest -q tests/fuzz --timeout 0

bench: $(READY)
	$(BIN)/python tests/benchmarks/bench.py

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo build/site/index.html

clean:
	rm -rf build $(VENV) *.egg-info
