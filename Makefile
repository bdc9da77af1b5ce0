# What one types to try, test and keep blaidctl. Needs python3 (3.11 or newer), pip and make; writes only inside this folder.

PYTHON  ?= python3
WORKERS ?= auto
ARGS    ?=
UPGRADE ?=

MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help quickstart test lint fmt manifest documents evidence bench requirements clean

RUN   := .venv
TEST  := .venv-test
TOOLS := .venv-tools

SOURCES := pyproject.toml $(wildcard README.md) $(shell find blaidctl migrations -type f ! -name '*.pyc' 2>/dev/null)

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

# $(call install,ENVIRONMENT,WHAT): with the environment's own pip or, where it has none, with the machine's from outside.
define install
@pip='$(1)/bin/python -m pip'; \
	$$pip --version >/dev/null 2>&1 || pip='$(PYTHON) -m pip --python $(1)/bin/python'; \
	$$pip install -qq --no-input $(2)
endef

help:  ## this list
	@printf 'make TARGET [PYTHON=python3] [WORKERS=auto] [ARGS=…]\n\n'
	@sed -n 's/^\([a-z]*\):.*##  *\(.*\)$$/  \1\t\2/p' Makefile | expand -t 16

quickstart: $(RUN)/.project  ## install into .venv and see a kill work in a sandbox (ARGS go to `blaidctl quickstart`)
	@$(RUN)/bin/blaidctl quickstart $(ARGS)

test: lint  ## lint, then all tests on SQLite and a real PostgreSQL (ARGS go to pytest)
	$(TEST)/bin/python -m pytest -n $(WORKERS) $(ARGS)

lint: $(TEST)/.project  ## ruff, mypy, import-linter, deptry
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/mypy
	$(TEST)/bin/lint-imports --no-logo
	$(TEST)/bin/deptry .

fmt: $(TEST)/.project  ## format, and mend what ruff can mend safely
	$(TEST)/bin/ruff format .
	$(TEST)/bin/ruff check --fix .

manifest: $(TEST)/.project  ## write blaidctl/core/schema_manifest.json anew from the migrations, on both engines
	$(TEST)/bin/python -m tests.support.manifest

documents: $(TEST)/.project  ## write the generated tables of README, AUDIT_FINDINGS and the runbooks anew
	$(TEST)/bin/python -m blaidctl.findings.write

evidence: $(TEST)/.project  ## the four verifications on both engines, into AUDIT_FINDINGS.md (ARGS go to `blaidctl verify`)
	$(TEST)/bin/python -m tests.support.evidence $(or $(ARGS),--write)

bench: $(TEST)/.project  ## measure everything in benchmarks/, one after the other (about half an hour)
	for name in cold_start kill kill_latency audit fairness reaper instruments ledger; do $(TEST)/bin/python -m benchmarks.$$name || exit 1; done

requirements: $(TOOLS)/.requirements  ## write requirements/*.txt anew from pyproject.toml (UPGRADE=--upgrade for newer versions)
	@$(call compile,dev,pyproject.toml --all-extras --group dev)
	@$(call compile,run,pyproject.toml --all-extras --constraints requirements/dev.txt)
	@$(call compile,build,--group build --constraints requirements/dev.txt)

clean:  ## remove the environments and every cache
	rm -rf $(RUN) $(TEST) $(TOOLS) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- environments; a stamp says what is installed in each ------------------------------------------------------------

# Made again when the interpreter behind it is gone: the link then dangles, which make takes for a missing file.
$(RUN)/bin/python $(TEST)/bin/python $(TOOLS)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'blaidctl needs Python 3.11 or newer; name one: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(@:/bin/python=) >/dev/null 2>&1 || \
		$(PYTHON) -m venv --clear --without-pip $(@:/bin/python=)

$(RUN)/.requirements: requirements/run.txt requirements/build.txt $(RUN)/bin/python
	@echo 'installing what blaidctl runs on into $(RUN)'
	$(call install,$(RUN),--require-hashes -r requirements/run.txt -r requirements/build.txt)
	@touch $@

$(RUN)/.project: $(RUN)/.requirements $(SOURCES)
	@echo 'installing blaidctl into $(RUN)'
	$(call install,$(RUN),--no-deps --no-build-isolation --force-reinstall .)
	@touch $@

$(TEST)/.requirements: requirements/dev.txt $(TEST)/bin/python
	@echo 'installing what the tests need into $(TEST)'
	$(call install,$(TEST),--require-hashes -r requirements/dev.txt)
	@touch $@

$(TEST)/.project: $(TEST)/.requirements pyproject.toml
	$(call install,$(TEST),--no-deps --no-build-isolation --editable .)
	@touch $@

$(TOOLS)/.requirements: $(TOOLS)/bin/python
	$(call install,$(TOOLS),'uv>=0.13')
	@touch $@

# $(call compile,NAME,FROM): one file for all of Python 3.11 to 3.13, with hashes and without the address of any index.
define compile
UV_CUSTOM_COMPILE_COMMAND='make requirements' $(TOOLS)/bin/uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links $(UPGRADE) $(2) -o requirements/$(1).txt
endef
