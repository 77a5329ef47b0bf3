# Each target sets up only the part of the environment that it needs: `make data` does not install torch.

ROOT     ?=
DATASET  ?= fashion-mnist
MIRROR   ?=
LAN      ?=
EPOCHS   ?=
RUN      ?=
TRAIN    ?=
KIT      ?=
SERVE    ?=
T        ?=
WORKERS  ?= auto
PYTHON   ?= python3
VENV     ?= .venv
BENCH    ?= $(env)-bench
QUICK    ?=
ONLY     ?=

# A path may have any characters: $(value) keeps it as the user wrote it, and it is quoted for sh.
empty    :=
blank    := $(empty) $(empty)
home      = $(subst <>,,$(subst <>~/,$(value HOME)/,<>$(1)))
quote     = '$(subst ','\'',$(call home,$(1)))'
stem      = $(subst |,$(blank),$(basename $(notdir $(subst $(blank),|,$(1)))))
absolute  = $(if $(filter /% ~/%,$(firstword $(1))),,$(CURDIR)/)$(1)
root     := $(or $(value ROOT),$(value FMNIST_ROOT),data)
run      := $(or $(value RUN),runs/$(call stem,$(value DATASET)))
dataset  := $(call quote,$(value DATASET))
# MIRROR is a list if it has a URL; otherwise it is one folder, whose name may have blanks.
urls     := $(filter http://% https://%,$(value MIRROR))
# Characters that make cannot have in the name of a target. An environment with one is checked in every run.
special  := $(strip $(foreach mark,$$ % : \# ' " ~ * ? [ \ ; & |,$(findstring $(mark),$(value VENV))) \
              $(word 2,$(value VENV)))
env      := $(if $(special),.venv-elsewhere,$(value VENV))

bin      := $(call quote,$(value VENV)/bin)
python   := $(bin)/python
# In an unpacked kit, wheels/ and mirror/ are beside this file, and no socket is opened.
kit      := $(wildcard wheels/TARGET)
given    := $(if $(urls),$(foreach mirror,$(value MIRROR),--mirror $(call quote,$(mirror))),--mirror $(call quote,$(value MIRROR)))
mirrors  := $(if $(value MIRROR),$(given),$(addprefix --mirror ,$(wildcard mirror)))
offline  := $(if $(kit),$(if $(value MIRROR)$(value LAN),,--offline))
lan      := $(if $(value LAN),--lan)
fetch    := $(python) -m fmnist_fetch fetch $(dataset) --root $(call quote,$(root)) $(mirrors) $(lan) $(offline)
# The whole kit is checked before the environment is created, and its wheels before each installation.
checked  := $(if $(kit),$(PYTHON) -I fmnist_fetch/commands/kit/check.py $(if $(wildcard $(env)/pyvenv.cfg),wheels/) && )
setup    := $(checked)$(PYTHON) -m fmnist_fetch.environment --venv $(call quote,$(value VENV)) $(mirrors) $(lan) $(offline)
require   = { command -v '$(PYTHON)' >/dev/null || { echo "error: there is no $(PYTHON)" >&2; \
              echo "hint: install Python 3.11 or newer, or name it: make PYTHON=python3.12" >&2; exit 1; }; }
# After Ctrl-C the program prints its own error; make adds none.
quietly   = trap stopped=1 INT; { $(1); } || { code=$$?; [ "$$stopped" ] || exit $$code; }
# Only the packages of the environment are imported.
unexport PYTHONPATH PYTHONHOME
# make would expand what it exports, and run a $(shell ...) in the name of a folder.
unexport ROOT DATASET MIRROR RUN VENV
# One target after the other, also under -j: `make -j8 data train` trains on the data.
.NOTPARALLEL:
# T names parts of tests/: folders (unit/download) or files (system/test_kit.py), separated by blanks.
absent   = $(error there is no tests/$(1); T takes folders and files of tests/, such as unit/download)
tests    = $(foreach part,$(T),$(or $(wildcard tests/$(part)),$(call absent,$(part))))
pytest   = -m pytest --numprocesses $(WORKERS) --dist worksteal $(tests) $(PYTEST)

.DEFAULT_GOAL := help
.PHONY: help data verify train notebook test coverage bench lint lock hooks kit kit-check serve docs api picture dist clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: ROOT=data (where the data goes)  MIRROR=(a folder, or URLs)"
	@echo "             LAN=1 (ask servers nearby)  DATASET=fashion-mnist  EPOCHS=10"
	@echo "             RUN=runs/DATASET"
	@echo "             PYTHON=python3  VENV=.venv"

data: $(env)/fetch  ## fetch Fashion-MNIST; run again, it verifies and repairs
	@$(call quietly,$(fetch) && { test $(call quote,$(value VENV)/data) -nt pylock.toml || $(setup) data; })

verify: $(env)/fetch  ## hash everything under ROOT, repair nothing
	@$(call quietly,$(python) -m fmnist_fetch verify $(dataset) --root $(call quote,$(root)))

train: $(env)/train  ## train softmax regression, offline; run again, it resumes
	@$(call quietly,$(python) -m trainer --root $(call quote,$(root)) --out $(call quote,$(run)) \
	  $(if $(filter-out fashion-mnist,$(value DATASET)),--dataset $(dataset)) $(if $(EPOCHS),--epochs $(EPOCHS)) $(TRAIN))

notebook: $(env)/notebook  ## open examples/softmax.ipynb in Jupyter
	@FMNIST_ROOT=$(call quote,$(call absolute,$(root))) $(bin)/jupyter lab examples/softmax.ipynb

test: $(env)/test  ## run the tests, offline (T=unit/download, PYTEST=options)
	$(python) $(pytest)

coverage: $(env)/dev  ## run the tests, and show the lines that they do not reach
	$(bin)/coverage erase
	$(bin)/coverage run $(pytest)
	$(bin)/coverage combine --quiet
	$(bin)/coverage report

bench: data $(BENCH)/ready  ## measure beside other tools (QUICK=1, ONLY=3,6)
	@PYTHONPATH=tests $(BENCH)/bin/python -m benchmarks --root $(call quote,$(root)) $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)")

lint: $(env)/dev  ## run ruff, mypy (strict) and import-linter
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/lint-imports --no-cache

lock: $(env)/dev  ## resolve the requirements again, to pylock.toml
	@PATH="$$(cd $(bin) && pwd):$$PATH" $(python) -m fmnist_fetch.environment lock

hooks: $(env)/dev  ## run the checks of `make lint` before each commit
	$(bin)/pre-commit install

kit: data $(env)/kit  ## pack project, data, wheels for offline machines (KIT=options)
	@$(call quietly,$(python) -m fmnist_fetch kit dist/fmnist-lab-kit.tar --root $(call quote,$(root)) $(KIT))

kit-check: kit  ## test the kit in a Debian without network (debootstrap, root)
	@tests/kit-check.sh dist/fmnist-lab-kit.tar

serve: $(env)/serve  ## share ROOT with the local network (SERVE=--announce)
	@$(call quietly,$(python) -m fmnist_fetch serve --root $(call quote,$(root)) $(SERVE))

docs: $(env)-docs/ready  ## build the pages to build/site, and check their links
	@NO_MKDOCS_2_WARNING=1 $(env)-docs/bin/mkdocs build --quiet && echo "build/site/index.html"

api: $(env)/dev  ## write docs/api.md and docs/errors.md from the source
	@$(python) docs/scripts/api_reference.py && $(python) docs/scripts/error_messages.py

picture: data $(env)/dev $(env)-docs/ready  ## record a download in a terminal for the README
	@PYTHONPATH="$$($(env)-docs/bin/python -c 'import site; print(site.getsitepackages()[0])')" \
	  $(python) docs/scripts/terminal_picture.py

$(env)-docs/ready: docs/requirements.txt
	@$(require) && $(PYTHON) -m venv $(env)-docs && $(env)-docs/bin/pip install --quiet --requirement docs/requirements.txt
	@touch $@

dist: $(env)/dev  ## build the wheel and the source distribution
	$(python) -m build --outdir dist

clean:  ## remove environments and caches; data, wheels and kits stay
	@for folder in $(call quote,$(value VENV)) $(BENCH) $(env)-docs; do \
	  [ ! -e "$$folder/pyvenv.cfg" ] || { echo "rm -rf $$folder"; rm -rf "$$folder"; }; done
	rm -rf build dist/*.whl dist/*.tar.gz *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A set-up ends with a file that records its inputs, so an interrupted one is completed the next time.
$(addprefix $(env)/,fetch data notebook test serve kit dev): $(env)/%: pylock.toml pyproject.toml
	@$(require) && $(call quietly,$(setup) $*)

$(env)/train: pylock.toml pyproject.toml
	@$(require) && $(call quietly,$(setup) train --root $(call quote,$(root)) --dataset $(dataset))

# The peers have an environment of their own with the same torch, and programs where root can install them with apt.
$(BENCH)/ready: pyproject.toml tests/benchmarks/requirements.txt tests/benchmarks/programs
	@$(MAKE) --no-print-directory VENV=$(BENCH) $(BENCH)/train $(BENCH)/serve
	grep -v '^torchvision' tests/benchmarks/requirements.txt | $(BENCH)/bin/pip install --quiet --requirement /dev/stdin
	$(BENCH)/bin/pip install --quiet --no-deps $$(grep '^torchvision' tests/benchmarks/requirements.txt)
	@sh tests/benchmarks/programs
	@touch $@
