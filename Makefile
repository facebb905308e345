# Every target sets up its own environment. Any field of the configuration is a variable: make all
# MODEL=resnet50 TRAIN=10000
# Make's timestamps decide nothing: each stage reads its manifest and says `cached` when there is
# nothing to do.

#: CONFIG    a YAML file, or the name of one of the configurations below
CONFIG ?=
#: RUNS      of compare, clean: names of runs, or the 8 characters each ends in
RUNS ?=
#: BENCH     of bench, some of: cached memory entk entk_zoo entk_growth ridge
#:           ridge_large theory page cuda products pass_rates solves
BENCH ?=
#: JSON      1: print one line of JSON on stdout, and nothing else there
JSON ?=
#: VENV      the virtual environment [.venv]
VENV ?= .venv
#: PYTHON    the interpreter that makes it, 3.10 or later [python3]
PYTHON ?= python3
#: FIELD     any field of the configuration, over what CONFIG says of it;
#:           .venv/bin/rmtgen run --help explains each:

BIN := $(VENV)/bin
OWN := CONFIG RUNS BENCH JSON VENV PYTHON
STAGES := $(shell sed -n 's/^    "\([a-z]*\)": Stage.*/\1/p' rmtgen/runs/graph.py)
quoted = '$(subst ','\'',$1)'
FIELDS = $(foreach v,$(filter-out $(OWN),$(.VARIABLES)),\
  $(if $(filter command,$(origin $v)),$(call quoted,$v=$($v))))
FLAGS = $(if $(filter-out 0 false no off,$(JSON)),--json)
ARGUMENTS = $(if $(CONFIG),$(call quoted,$(CONFIG))) $(FIELDS) $(FLAGS)
RMTGEN = $(BIN)/rmtgen
# What a command begins with when it names what to type next.
TYPED = $(foreach v,CONFIG JSON VENV PYTHON,\
  $(if $(filter command environment,$(origin $v)),$v=$(call quoted,$($v))))
demo all plan $(STAGES): export RMTGEN_MAKE = make $(TYPED)

.PHONY: help demo all $(STAGES) compare plan test test-oldest lint docs bench clean

# The targets of one section of this file, each with what it says behind ##.
listed = awk -v section='$1' -F '\#\# ' \
  '/^\#\# /{shown = $$2 == section; if (shown) print "\n" $$2} \
  shown && /^[a-z-]+:.*\#\# /{split($$1, name, ":"); printf "  %-11s %s\n", name[1], $$2}' Makefile

## start
help: ## this page
	@echo 'usage: make TARGET [CONFIG=NAME] [FIELD=VALUE ...]'
	@$(call listed,start)
	@echo
	@echo 'stages, each with those before it; one that is done says `cached`'
	@awk -F '"' '/": Stage/{name=$$2} /summary=/{printf "  %-10s %s\n", name, $$2}' rmtgen/runs/graph.py
	@$(call listed,upkeep)
	@echo
	@echo variables
	@sed -n 's/^#: /  /p' Makefile
	@sed -n 's/^    \([a-z0-9_]*\): .* = _field(.*/\1/p' rmtgen/runs/config.py \
	  | tr 'a-z\n' 'A-Z ' | fold -s -w 68 | sed 's/^/            /'
	@echo
	@echo
	@echo examples
	@echo '  make demo'
	@echo '  make plan KERNEL=entk MODEL=resnet18 IMG_SIZE=32 TRAIN=10000'
	@echo '  make all MODEL=resnet50 INIT=pretrained,random DATASET=cifar100 DOWNLOAD=true'
	@echo '  make risk CONFIG=demo RIDGES=0,1e-6:10:15    other ridges on the same features'
	@echo '  make compare RUNS="67b71631 49da3c6c"'
	@echo '  make report CONFIG=demo JSON=1               one line for programs'
	@echo
	@echo 'configurations'
	@echo $(basename $(notdir $(wildcard rmtgen/runs/experiments/*.yaml))) \
	  | fold -s -w 78 | sed 's/^/  /'
	@echo
	@echo 'exit codes of rmtgen: 0 done, 2 usage, 3 missing or corrupt input,'
	@echo '4 numerical failure, 130 interrupted; make itself ends with 2 for all but 0'
demo: $(VENV)/.installed ## real digits, pretrained and random: all of it in minutes, offline
	@$(RMTGEN) run demo $(ARGUMENTS)
all: $(VENV)/.installed ## every stage of every run in one process, then the report
	@$(RMTGEN) run $(ARGUMENTS)
plan: $(VENV)/.installed ## what a configuration will cost, before anything runs
	@$(RMTGEN) plan $(ARGUMENTS)
compare: $(VENV)/.installed ## one report over finished runs, those in RUNS or all of them
	@$(RMTGEN) compare $(foreach r,$(RUNS),$(call quoted,$r)) $(FIELDS) $(FLAGS)

## stages
$(STAGES): $(VENV)/.installed
	@$(RMTGEN) run --stage $@ $(ARGUMENTS)

## upkeep
test: $(VENV)/.installed-dev ## the tests
	$(BIN)/python -m pytest -n 2 --dist worksteal
test-oldest: PYTHON = $(if $(shell python3.10 --version 2>/dev/null),python3.10,python3)
test-oldest: $(VENV)-oldest/.installed ## the tests with the oldest versions that setup.cfg allows
	$(VENV)-oldest/bin/python -m pytest -n 2 --dist worksteal
lint: $(VENV)/.installed-dev ## ruff, mypy, and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
docs: $(VENV)/.installed-docs ## the documentation, under build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
bench: $(VENV)/.installed-dev ## benchmarks, those in BENCH or all of them
	$(BIN)/python -m pip install -q -e '.[bench]'
	$(BIN)/python -m tests.bench $(BENCH)
clean: $(VENV)/.installed ## delete all results: runs/ and reports/ under OUTPUT [data]
	@$(RMTGEN) clean $(foreach r,$(RUNS),$(call quoted,$r)) $(FIELDS) $(FLAGS)

.DEFAULT:
	@echo "make: no target '$@'. Targets: help demo all plan compare $(STAGES)" \
	  "test test-oldest lint docs bench clean" >&2; exit 2

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e '.[demo]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install -e '.[demo,dev]'
	@touch $@

$(VENV)-oldest/.installed: setup.cfg pyproject.toml tests/oldest.py
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python tests/oldest.py >$(VENV)-oldest/constraints.txt
	$(VENV)-oldest/bin/python -m pip install -c $(VENV)-oldest/constraints.txt -e '.[demo,dev]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install -e '.[demo,docs]'
	@touch $@
