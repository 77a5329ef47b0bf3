# Each target sets up the part of the environment that it needs, and nothing more: `make data` installs no torch.

ROOT     ?=
DATASET  ?= fashion-mnist
MIRROR   ?=
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

# A path may have any characters: it is taken as it was given ($(value)), never split or expanded, and quoted for sh.
empty    :=
blank    := $(empty) $(empty)
home      = $(subst <>,,$(subst <>~/,$(value HOME)/,<>$(1)))
quote     = '$(subst ','\'',$(call home,$(1)))'
stem      = $(subst |,$(blank),$(basename $(notdir $(subst $(blank),|,$(1)))))
absolute  = $(if $(filter /% ~/%,$(firstword $(1))),,$(CURDIR)/)$(1)
root     := $(or $(value ROOT),$(value FMNIST_ROOT),data)
run      := $(or $(value RUN),runs/$(call stem,$(value DATASET)))
dataset  := $(call quote,$(value DATASET))
# Of several mirrors one at least is a URL; all else is one folder, with blanks in its name or without.
several  := $(filter http://% https://%,$(value MIRROR))
# What make cannot have in the name of a target: such an environment is looked at in every run.
odd      := $(strip $(foreach mark,$$ % : \# ' " ~ * ? [ \ ; & |,$(findstring $(mark),$(value VENV))) \
              $(word 2,$(value VENV)))
env      := $(if $(odd),.venv-elsewhere,$(value VENV))

bin      := $(call quote,$(value VENV)/bin)
python   := $(bin)/python
# In an unpacked kit, wheels/ and mirror/ are beside this file, and no socket is opened.
kit      := $(wildcard wheels/TARGET)
given    := $(if $(several),$(foreach mirror,$(value MIRROR),--mirror $(call quote,$(mirror))),--mirror $(call quote,$(value MIRROR)))
mirrors  := $(if $(value MIRROR),$(given),$(addprefix --mirror ,$(wildcard mirror)))
offline  := $(if $(kit),$(if $(value MIRROR),,--offline))
fetch    := $(python) -m fmnist_fetch fetch $(dataset) --root $(call quote,$(root)) $(mirrors) $(offline)
# All of the kit before the environment is made, then the wheels before each installation.
intact   := $(if $(kit),$(PYTHON) -I fmnist_fetch/commands/kit/check.py $(if $(wildcard $(env)/pyvenv.cfg),wheels/) && )
setup    := $(intact)$(PYTHON) -m fmnist_fetch.environment --venv $(call quote,$(value VENV)) $(mirrors) $(offline)
there     = { command -v '$(PYTHON)' >/dev/null || { echo "error: there is no $(PYTHON)" >&2; \
              echo "hint: install Python 3.11 or newer, or name it: make PYTHON=python3.12" >&2; exit 1; }; }
# A program says in a sentence that Ctrl-C has ended it, and make adds no line of its own.
calmly    = trap stopped=1 INT; { $(1); } || { code=$$?; [ "$$stopped" ] || exit $$code; }
# Other packages than those of the environment are none of its business.
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
	@echo "             DATASET=fashion-mnist  EPOCHS=10  RUN=runs/DATASET"
	@echo "             PYTHON=python3  VENV=.venv"

data: $(env)/fetch  ## fetch Fashion-MNIST; run again, it verifies and repairs
	@$(call calmly,$(fetch) && { test $(call quote,$(value VENV)/data) -nt pylock.toml || $(setup) data; })

verify: $(env)/fetch  ## hash everything under ROOT, repair nothing
	@$(call calmly,$(python) -m fmnist_fetch verify $(dataset) --root $(call quote,$(root)))

train: $(env)/train  ## train softmax regression, offline; run again, it resumes
	@$(call calmly,$(python) -m trainer --root $(call quote,$(root)) --out $(call quote,$(run)) \
	  $(if $(filter-out fashion-mnist,$(value DATASET)),--dataset $(dataset)) $(if $(EPOCHS),--epochs $(EPOCHS)) $(TRAIN))

notebook: $(env)/notebook  ## open examples/softmax.ipynb in Jupyter
	@FMNIST_ROOT=$(call quote,$(call absolute,$(root))) $(bin)/jupyter lab examples/softmax.ipynb

test: $(env)/test  ## run the tests, offline (T=unit/download, PYTEST=options)
	$(python) $(pytest)

coverage: $(env)/dev  ## run the tests, and show the lines that none of them takes
	$(bin)/coverage erase
	$(bin)/coverage run $(pytest)
	$(bin)/coverage combine --quiet
	$(bin)/coverage report

bench: data $(BENCH)/ready  ## measure beside other tools (QUICK=1, ONLY=3,6)
	@PYTHONPATH=tests $(BENCH)/bin/python -m benchmarks --root $(call quote,$(root)) $(if $(QUICK),--quick) $(if $(ONLY),--only "$(ONLY)")

lint: $(env)/dev  ## ruff, mypy (strict), and the rules of who imports whom
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/lint-imports --no-cache

lock: $(env)/dev  ## resolve the requirements anew, to pylock.toml
	@PATH="$$(cd $(bin) && pwd):$$PATH" $(python) -m fmnist_fetch.environment lock

hooks: $(env)/dev  ## let git check what is committed, as `make lint` does
	$(bin)/pre-commit install

kit: data $(env)/kit  ## pack project, data, wheels for offline machines (KIT=options)
	@$(call calmly,$(python) -m fmnist_fetch kit dist/fmnist-lab-kit.tar --root $(call quote,$(root)) $(KIT))

kit-check: kit  ## try the kit in a Debian without a network (debootstrap, root)
	@tests/kit-check.sh dist/fmnist-lab-kit.tar

serve: $(env)/serve  ## share ROOT with the local network, read-only (SERVE=options)
	@$(call calmly,$(python) -m fmnist_fetch serve --root $(call quote,$(root)) $(SERVE))

docs: $(env)-docs/ready  ## build the pages to build/site, and check their links
	@NO_MKDOCS_2_WARNING=1 $(env)-docs/bin/mkdocs build --quiet && echo "build/site/index.html"

api: $(env)/dev  ## write docs/api.md and docs/errors.md from the source
	@$(python) docs/scripts/api_reference.py && $(python) docs/scripts/error_messages.py

picture: data $(env)/dev $(env)-docs/ready  ## record the picture of a download in a real terminal
	@PYTHONPATH="$$($(env)-docs/bin/python -c 'import site; print(site.getsitepackages()[0])')" \
	  $(python) docs/scripts/terminal_picture.py

$(env)-docs/ready: docs/requirements.txt
	@$(there) && $(PYTHON) -m venv $(env)-docs && $(env)-docs/bin/pip install --quiet --requirement docs/requirements.txt
	@touch $@

dist: $(env)/dev  ## build the wheel and the source distribution
	$(python) -m build --outdir dist

clean:  ## remove environments and caches; data, wheels and kits stay
	@for folder in $(call quote,$(value VENV)) $(BENCH) $(env)-docs; do \
	  [ ! -e "$$folder/pyvenv.cfg" ] || { echo "rm -rf $$folder"; rm -rf "$$folder"; }; done
	rm -rf build dist/*.whl dist/*.tar.gz *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The set-up records what it was made from in a file at its end, so an interrupted one is completed the next time.
$(addprefix $(env)/,fetch data notebook test serve kit dev): $(env)/%: pylock.toml pyproject.toml
	@$(there) && $(call calmly,$(setup) $*)

$(env)/train: pylock.toml pyproject.toml
	@$(there) && $(call calmly,$(setup) train --root $(call quote,$(root)) --dataset $(dataset))

# An environment of their own for the peers, with the same torch; and programs, where root and apt can bring them.
$(BENCH)/ready: pyproject.toml tests/benchmarks/requirements.txt tests/benchmarks/programs
	@$(MAKE) --no-print-directory VENV=$(BENCH) $(BENCH)/train $(BENCH)/serve
	grep -v '^torchvision' tests/benchmarks/requirements.txt | $(BENCH)/bin/pip install --quiet --requirement /dev/stdin
	$(BENCH)/bin/pip install --quiet --no-deps $$(grep '^torchvision' tests/benchmarks/requirements.txt)
	@sh tests/benchmarks/programs
	@touch $@
