# make report / make test / make lint: each sets everything up in .venv and runs.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
CORES ?= all

.DEFAULT_GOAL := help
.PHONY: help report smoke test test-all test-portable chaos gpu-check lint docs picture format \
	setup slurm s3 web clean

help:  ## list the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

report: .venv/.ready  ## run the pipeline of config.yaml and write results/report.html
	snakemake --cores $(CORES) results/report.html

smoke: .venv/.ready  ## run every stage on eleven clips, from nothing, in the folder smoke
	rm -rf smoke
	snakemake --cores $(CORES) results/report.html --directory smoke --configfile configs/smoke.yaml

# Files go to the workers in the order of tests/conftest.py, not by how many tests they hold.
PYTEST = pytest -n auto --dist loadfile --no-loadscope-reorder

test: .venv/.ready  ## run the fast tests
	$(PYTEST) -m "not slow"

test-all: .venv/.ready  ## run every test
	$(PYTEST)

# Elsewhere nothing is computed that a processor could change.
NUMBERS = $(addprefix tests/,acquire backends barnyard curate evaluate generation label minitrain \
	nano4m tokenize tokenizers test_intervals.py test_training.py)
test-portable: .venv/.ready  ## run the fast tests of what is computed as on a processor one generation older
	settings=$$(python -m tests.processor) && echo "$$settings" && env $$settings $(PYTEST) -m "not slow" $(NUMBERS)

# The tests that docs/RELIABILITY.md names, and all that is fuzzed, in full numbers: 2,000 damaged clips and the like.
FAULTS = $$(grep -oE 'tests/[a-z0-9_/]+\.py::\w+' docs/RELIABILITY.md | sort -u)
chaos: .venv/.ready  ## kill, fill, damage and fuzz everything: 16 minutes on two cores
	CHAOS=1 pytest -n auto --dist load tests/fuzz $(FAULTS)

lint: .venv/.ready  ## check style, types and rules
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile rules
	mypy
	snakemake --lint

docs: .venv/.ready  ## write docs/DATA.md from the schemas
	python docs/data.py > docs/DATA.md

picture: report  ## draw docs/report.png, the first screen of the demo's report, with Chromium
	python docs/picture.py results/report.html docs/report.png

gpu-check: .venv/.ready  ## check and time on a GPU what only it can show, within ten minutes
	python -m benchmarks.gpu_check

format: .venv/.ready  ## format Python and rules
	ruff check --fix .
	ruff format .
	snakefmt Snakefile rules

setup: .venv/.ready  ## create .venv from requirements.lock; TORCH=cpu: without CUDA, see README.md

# Without uv it is put into a small environment of its own, as a system Python may refuse installs.
FIND_UV = { UV=$$(command -v uv) || { UV=.uv/bin/uv && { test -x $$UV || \
	{ $(PYTHON) -m venv .uv && .uv/bin/pip install --quiet uv; }; }; }; }

# Bytecode is written here: a job that imports torch would take twice as long where Python may not write it.
INSTALL = $$UV pip install --quiet --compile-bytecode --python .venv/bin/python

# The lock holds hashes and no index address: uv asks whatever index this machine is set up with.
INSTALL_LOCK = $(INSTALL) --require-hashes -r requirements.lock

# TORCH=cpu leaves out CUDA and Triton, 3.3 GB, for those who can reach PyTorch's own index. Nothing needs it. The builds
# there have other hashes than the lock's, so none are checked of these three; all other packages keep theirs. What is
# asked for is tested; the download itself has not been tried.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
ifeq ($(TORCH),cpu)
INSTALL_LOCK = $(INSTALL) --no-deps --index-url $(TORCH_INDEX) \
	$$(grep -oE '^(torch|torchvision|torchaudio)==[^ ]+' requirements.lock) && \
	awk '/^[^ ]/ { keep = !/^((torch|torchvision|torchaudio|triton)==|(cuda|nvidia)-)/ } keep' \
	requirements.lock > .venv/cpu.lock && \
	$(INSTALL) --no-deps --require-hashes -r .venv/cpu.lock
endif

.venv/.ready: requirements.lock pyproject.toml
	$(FIND_UV) && \
	$$UV venv --quiet --clear --python ">=3.11,<3.13" .venv && \
	$(INSTALL_LOCK) && \
	$$UV pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e .
	.venv/bin/python -m compileall -q src
	touch $@

slurm: .venv/.ready  ## add Snakemake's plugin for Slurm to .venv
	$(FIND_UV) && $$UV pip install --quiet --python .venv/bin/python --no-build-isolation -e '.[slurm]'

s3: .venv/.ready  ## add boto3, with which publish writes to s3://, to .venv
	$(FIND_UV) && $$UV pip install --quiet --python .venv/bin/python --no-build-isolation -e '.[publish]'

# No lock: video sites change, and yt-dlp with them. It changes no row that is there.
web: .venv/.ready  ## add the newest yt-dlp, and Deno for YouTube, to .venv
	$(FIND_UV) && $$UV pip install --quiet --upgrade-package yt-dlp --upgrade-package yt-dlp-ejs --python .venv/bin/python --no-build-isolation -e '.[web]'

clean:  ## remove results and the environment
	rm -rf results smoke .venv .uv .snakemake
