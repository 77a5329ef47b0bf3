# Each target sets up the part of the environment that it needs, and nothing more: `make data` installs no torch.

ROOT     ?= $(or $(FMNIST_ROOT),data)
DATASET  ?= fashion-mnist
MIRROR   ?=
EPOCHS   ?=
RUN      ?= runs/$(basename $(notdir $(DATASET)))
TRAIN    ?=
KIT      ?=
SERVE    ?=
T        ?=
WORKERS  ?= auto
PYTHON   ?= python3
VENV     ?= .venv
BENCH    ?= $(VENV)-bench
QUICK    ?=
ONLY     ?=

bin      := $(VENV)/bin
python   := $(bin)/python
# In an unpacked kit, wheels/ and mirror/ are beside this file, and no socket is opened.
kit      := $(wildcard wheels/TARGET)
mirrors  := $(foreach mirror,$(or $(MIRROR),$(wildcard mirror)),--mirror "$(mirror)")
offline  := $(if $(kit),$(if $(MIRROR),,--offline))
fetch    := $(python) -m fmnist_fetch fetch $(DATASET) --root "$(ROOT)" $(mirrors) $(offline)
intact   := $(if $(kit),$(PYTHON) -I fmnist_fetch/commands/kit/check.py wheels/ && )
setup    := $(intact)$(PYTHON) -m fmnist_fetch.environment --venv "$(VENV)" $(mirrors) $(offline)
there     = { command -v '$(PYTHON)' >/dev/null || { echo "error: there is no $(PYTHON)" >&2; \
              echo "hint: install Python 3.11 or newer, or name it: make PYTHON=python3.12" >&2; exit 1; }; }
# Other packages than those of the environment are none of its business.
unexport PYTHONPATH PYTHONHOME
# T names parts of tests/: folders (unit/download) or files (system/test_kit.py), separated by blanks.
absent   = $(error there is no tests/$(1); T takes folders and files of tests/, such as unit/download)
tests    = $(foreach part,$(T),$(or $(wildcard tests/$(part)),$(call absent,$(part))))
pytest   = -m pytest --numprocesses $(WORKERS) --dist worksteal $(tests) $(PYTEST)

.DEFAULT_GOAL := help
.PHONY: help data verify train notebook test coverage bench lint lock hooks kit kit-check serve docs api picture dist clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  Variables: ROOT=$(ROOT)  DATASET=$(DATASET)  MIRROR=(URL or folder)  EPOCHS=$(or $(EPOCHS),10)  RUN=$(RUN)  PYTHON=$(PYTHON)"

data: $(VENV)/fetch  ## fetch Fashion-MNIST to ROOT; run again, it verifies and repairs
	@$(fetch) && { test $(VENV)/data -nt pylock.toml || $(setup) data; }

verify: $(VENV)/fetch  ## hash everything under ROOT, repair nothing
	@$(python) -m fmnist_fetch verify $(DATASET) --root "$(ROOT)"

train: $(VENV)/train  ## train softmax regression, offline; goes on with an interrupted run (options: TRAIN)
	@$(python) -m trainer --root "$(ROOT)" --out "$(RUN)" $(if $(filter-out fashion-mnist,$(DATASET)),--dataset "$(DATASET)") \
	  $(if $(EPOCHS),--epochs $(EPOCHS)) $(TRAIN)

notebook: $(VENV)/notebook  ## open examples/softmax.ipynb in Jupyter
	@FMNIST_ROOT="$(if $(filter /%,$(ROOT)),,$(CURDIR)/)$(ROOT)" $(bin)/jupyter lab examples/softmax.ipynb

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

lock: $(VENV)/dev  ## resolve the requirements of pyproject.toml anew, to pylock.toml
	@PATH="$(abspath $(bin)):$$PATH" $(python) -m fmnist_fetch.environment lock

hooks: $(VENV)/dev  ## let git check what is committed, as `make lint` does
	$(bin)/pre-commit install

kit: data $(VENV)/kit  ## pack project, data and wheels for machines without a network (options: KIT)
	@$(python) -m fmnist_fetch kit dist/fmnist-lab-kit.tar --root "$(ROOT)" $(KIT)

kit-check: kit  ## unpack the kit in a Debian without a network, and run everything there (root, debootstrap)
	@tests/kit-check.sh dist/fmnist-lab-kit.tar

serve: $(VENV)/serve  ## share ROOT with the local network, read-only (options: SERVE)
	@$(python) -m fmnist_fetch serve --root "$(ROOT)" $(SERVE)

docs: $(VENV)-docs/ready  ## build the pages to build/site, and check their links
	@NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --quiet && echo "build/site/index.html"

api: $(VENV)/dev  ## write docs/api.md and docs/errors.md from the source
	@$(python) docs/scripts/api_reference.py && $(python) docs/scripts/error_messages.py

picture: data $(VENV)/dev $(VENV)-docs/ready  ## record the picture of a download in a real terminal
	@PYTHONPATH="$$($(VENV)-docs/bin/python -c 'import site; print(site.getsitepackages()[0])')" \
	  $(python) docs/scripts/terminal_picture.py

$(VENV)-docs/ready: docs/requirements.txt
	@$(there) && $(PYTHON) -m venv $(VENV)-docs && $(VENV)-docs/bin/pip install --quiet --requirement docs/requirements.txt
	@touch $@

dist: $(VENV)/dev  ## build the wheel and the source distribution that are published
	$(python) -m build --outdir dist

clean:  ## remove the environment and what tools left; data, wheels and kits stay
	rm -rf $(VENV) $(BENCH) $(VENV)-docs build dist/*.whl dist/*.tar.gz *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The file that the set-up leaves tells what it was made from, so an interrupted one is made up for the next time.
$(addprefix $(VENV)/,fetch data notebook test serve kit dev): $(VENV)/%: pylock.toml pyproject.toml
	@$(there) && $(setup) $*

$(VENV)/train: pylock.toml pyproject.toml
	@$(there) && $(setup) train --root "$(ROOT)" --dataset "$(DATASET)"

# An environment of their own for the peers, with the same torch; and programs, where root and apt can bring them.
$(BENCH)/ready: pyproject.toml tests/benchmarks/requirements.txt tests/benchmarks/programs
	@$(MAKE) --no-print-directory VENV=$(BENCH) $(BENCH)/train $(BENCH)/serve
	grep -v '^torchvision' tests/benchmarks/requirements.txt | $(BENCH)/bin/pip install --quiet --requirement /dev/stdin
	$(BENCH)/bin/pip install --quiet --no-deps $$(grep '^torchvision' tests/benchmarks/requirements.txt)
	@sh tests/benchmarks/programs
	@touch $@
