# Each target sets up the part of the environment that it needs, and nothing more: `make data` installs no torch.

ROOT     ?= $(or $(FMNIST_ROOT),data)
DATASET  ?= fashion-mnist
MIRROR   ?=
EPOCHS   ?= 10
RUN      ?= runs/$(basename $(notdir $(DATASET)))
KIT      ?=
SERVE    ?=
T        ?=
WORKERS  ?= auto
PYTHON   ?= python3
VENV     ?= .venv
BENCH    ?= $(VENV)-bench
QUICK    ?=
ONLY     ?=

# On Linux the default build of torch brings several GB of CUDA; the CPU build is all that the trainer needs.
ifeq ($(shell uname -s),Linux)
TORCH       ?= torch==2.13.0+cpu
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
else
TORCH       ?= torch==2.13.0
TORCH_INDEX ?=
endif

bin      := $(VENV)/bin
python   := $(bin)/python
pip      := $(python) -m pip --disable-pip-version-check --quiet
# In an unpacked kit, wheels/ and mirror/ lie beside this file: pip installs from there, and no socket is opened.
wheels   := $(wildcard wheels)
intact   := $(if $(wheels),$(PYTHON) -I fmnist_fetch/commands/kit/check.py)
install  := $(if $(wheels),$(intact) wheels/ && )$(pip) install $(if $(wheels),--no-index --find-links wheels )
mirrors  := $(or $(MIRROR),$(wildcard mirror))
fetch    := $(python) -m fmnist_fetch fetch $(DATASET) --root "$(ROOT)" $(foreach mirror,$(mirrors),--mirror "$(mirror)") \
              $(if $(wheels),$(if $(MIRROR),,--offline))
# T names parts of tests/: folders (unit/download) or files (system/test_kit.py), separated by blanks.
absent   = $(error there is no tests/$(1); T takes folders and files of tests/, such as unit/download)
tests    = $(foreach part,$(T),$(or $(wildcard tests/$(part)),$(call absent,$(part))))
pytest   = -m pytest --numprocesses $(WORKERS) --dist worksteal $(tests) $(PYTEST)

.DEFAULT_GOAL := help
.PHONY: help data verify train test coverage bench lint hooks kit kit-check serve dist clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: ROOT=$(ROOT)  DATASET=$(DATASET)  MIRROR=(URL or folder)  EPOCHS=$(EPOCHS)  RUN=$(RUN)  PYTHON=$(PYTHON)"

data: $(VENV)/data  ## fetch Fashion-MNIST to ROOT; run again, it verifies and repairs
	@$(fetch)

verify: $(VENV)/data  ## hash everything under ROOT, repair nothing
	@$(python) -m fmnist_fetch verify $(DATASET) --root "$(ROOT)"

train: $(VENV)/train  ## train softmax regression on what `make data` brought; needs no network
	@$(python) -m trainer --root "$(ROOT)" --dataset $(DATASET) --epochs $(EPOCHS) --out "$(RUN)"

test: $(VENV)/test  ## run the tests, which need no network (a part: T=unit/download; options for pytest: PYTEST)
	$(python) $(pytest)

coverage: $(VENV)/dev  ## run the tests, and show which lines and branches of fmnist_fetch none of them takes
	$(bin)/coverage erase
	$(bin)/coverage run $(pytest)
	$(bin)/coverage combine --quiet
	$(bin)/coverage report

bench: data $(BENCH)/ready  ## measure beside the peers, to tests/benchmarks/RESULTS.md (QUICK=1, ONLY=3,6)
	@PYTHONPATH=tests $(BENCH)/bin/python -m benchmarks --root "$(ROOT)" $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)")

lint: $(VENV)/dev  ## ruff, mypy (strict), and the rules of who imports whom
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/lint-imports --no-cache

hooks: $(VENV)/dev  ## let git check what is committed, as `make lint` does
	$(bin)/pre-commit install

kit: data $(VENV)/kit  ## pack project, data and wheels for machines without a network (options: KIT)
	@$(python) -m fmnist_fetch kit dist/fmnist-lab-kit.tar --root "$(ROOT)" \
	  --torch '$(TORCH)' --torch-index '$(TORCH_INDEX)' $(KIT)

kit-check: kit  ## unpack the kit in a Debian without a network, and run everything there (root, debootstrap)
	@tests/kit-check.sh dist/fmnist-lab-kit.tar

serve: $(VENV)/serve  ## share ROOT with the local network, read-only (options: SERVE)
	@$(python) -m fmnist_fetch serve --root "$(ROOT)" $(SERVE)

dist: $(VENV)/dev  ## build the wheel and the source distribution that are published
	$(python) -m build --outdir dist

clean:  ## remove the environment and what tools left; the data stays
	rm -rf $(VENV) $(BENCH) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(python):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: $(PYTHON) is too old or not there; Python 3.11 or newer is needed" >&2; \
	  echo "hint: name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(intact)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "error: $(PYTHON) could not make the virtual environment $(VENV)" >&2; \
	  echo "hint: on Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }

# A stamp is touched only after its installation succeeded, so an interrupted one is made up for the next time.
$(VENV)/data: pyproject.toml | $(python)
	$(install) --editable '.[load]'
	@touch $@

# torch by itself first: a wheel that is on this machine already, else from the index of its CPU builds.
$(VENV)/torch: | $(python)
ifneq ($(wheels),)
	$(install) --no-deps torch
else
	@$(pip) install --no-deps --no-index '$(TORCH)' 2>/dev/null || \
	$(pip) install --no-deps $(addprefix --extra-index-url ,$(TORCH_INDEX)) '$(TORCH)' || { \
	  echo "error: $(TORCH) could not be installed" >&2; \
	  echo "hint: run the command again, or name another build: make $(MAKECMDGOALS) TORCH=torch==2.13.0" >&2; exit 1; }
endif
	@touch $@

$(VENV)/train: pyproject.toml $(VENV)/torch
	$(install) --editable '.[train]'
	@touch $@

$(VENV)/test: pyproject.toml $(VENV)/torch
	$(install) --editable '.[load,train,serve,kit,completion,test]'
	@touch $@

$(VENV)/dev: pyproject.toml $(VENV)/torch
	$(install) --editable '.[dev]'
	@touch $@

# An environment of their own for the peers, with the same torch; and programs, where root and apt can bring them.
$(BENCH)/ready: pyproject.toml tests/benchmarks/requirements.txt tests/benchmarks/programs
	@$(MAKE) --no-print-directory VENV=$(BENCH) $(BENCH)/train $(BENCH)/serve
	grep -v '^torchvision' tests/benchmarks/requirements.txt | $(BENCH)/bin/pip install --quiet --requirement /dev/stdin
	$(BENCH)/bin/pip install --quiet --no-deps $$(grep '^torchvision' tests/benchmarks/requirements.txt)
	@sh tests/benchmarks/programs
	@touch $@

$(VENV)/kit: pyproject.toml | $(python)
	$(install) --editable '.[kit]'
	@touch $@

$(VENV)/serve: pyproject.toml | $(python)
	$(install) --editable '.[serve]'
	@touch $@
