# Every target sets up its own environment. Any field of the configuration is a variable: make all MODEL=resnet50 TRAIN=10000
# Make's timestamps decide nothing: each stage looks at its manifest and says `cached` when there is nothing to do.

#: CONFIG    a YAML file, or the name of one of the configurations below
CONFIG ?=
#: RUNS      of compare: names of finished runs, or the 8 characters each ends in
RUNS ?=
#: BENCH     of bench, some of: cached memory entk entk_zoo entk_growth ridge
#:           ridge_large theory page cuda
BENCH ?=
#: JSON      1: a stage, plan or compare prints one line of JSON and nothing else
JSON ?=
#: VENV      the virtual environment [.venv]
VENV ?= .venv
#: PYTHON    the interpreter that makes it, 3.10 or later [python3]
PYTHON ?= python3
#: FIELD     any field of the configuration, over what CONFIG says of it;
#:           .venv/bin/python -m pipelines.plan --help explains each:

BIN := $(VENV)/bin
OWN := CONFIG RUNS BENCH JSON VENV PYTHON
STAGES := extract gram spectrum risk theory report
quoted = '$(subst ','\'',$1)'
FIELDS = $(foreach v,$(filter-out $(OWN),$(.VARIABLES)),$(if $(filter command,$(origin $v)),$(call quoted,$v=$($v))))
ARGUMENTS = --config $(call quoted,$(CONFIG)) $(FIELDS) $(if $(filter-out 0 false no off,$(JSON)),--json)
RUN = $(BIN)/python -m pipelines
# What the hint of a stage for the next command begins with: empty where make goes on by itself.
LAST = $(if $(filter all demo,$(MAKECMDGOALS)),report,$(lastword $(filter $(MAKECMDGOALS),plan $(STAGES))))
TYPED = $(foreach v,CONFIG JSON VENV PYTHON,$(if $(filter command environment,$(origin $v)),$v=$(call quoted,$($v))))
plan $(STAGES): export RMTGEN_MAKE = $(if $(filter $@,$(LAST)),make $(TYPED))

.PHONY: help demo all $(STAGES) compare plan test lint docs bench clean

## start
help: ## this page
	@echo 'usage: make TARGET [CONFIG=NAME] [FIELD=VALUE ...]'
	@awk -F '## ' '/^## /{print "\n" $$2} /^[a-z]+:.*## /{split($$1, name, ":"); printf "  %-9s %s\n", name[1], $$2}' Makefile
	@echo
	@echo variables
	@sed -n 's/^#: /  /p' Makefile
	@sed -n 's/^    \([a-z0-9_]*\): .* = _field(.*/\1/p' rmtgen/config.py | tr 'a-z\n' 'A-Z ' | fold -s -w 68 | sed 's/^/            /'
	@echo
	@echo
	@echo examples
	@echo '  make demo'
	@echo '  make plan KERNEL=entk MODEL=resnet18 IMG_SIZE=32 TRAIN=10000'
	@echo '  make all MODEL=resnet50 INIT=pretrained,random DATASET=cifar100 DOWNLOAD=true'
	@echo '  make risk CONFIG=demo RIDGES=0,1e-6:10:15    other ridges on the same features'
	@echo '  make compare RUNS="67b71631 49da3c6c"'
	@echo '  make report CONFIG=demo JSON=1 | tail -n 1   for programs'
	@echo
	@echo 'configurations'
	@echo $(basename $(notdir $(wildcard pipelines/experiments/*.yaml))) | fold -s -w 78 | sed 's/^/  /'
	@echo
	@echo 'exit codes of a stage: 0 done, 2 usage, 3 missing or corrupt input,'
	@echo '4 numerical failure, 130 interrupted; make itself ends with 2 for all but 0'
demo: CONFIG = demo
demo: all ## real digits, pretrained and random: all of it in minutes, offline
all: report ## every stage, then the report
plan: $(VENV)/.installed ## what a configuration will cost, before anything runs
	@$(RUN).plan $(ARGUMENTS)
compare: $(VENV)/.installed ## one report over finished runs, those in RUNS or all of them
	@$(RUN).compare $(foreach r,$(RUNS),--run $(call quoted,$r)) $(ARGUMENTS)

## stages, each after those above it; one that is done says `cached`
extract: $(VENV)/.installed ## images, backbone -> features.h5
gram: extract ## features, or images under a backbone (eNTK) -> gram.h5
spectrum: gram ## eigenvalues and target coefficients -> spectrum.h5
risk: spectrum ## GCV, LOO and test risk over sizes and ridges -> risk.csv, curve.csv
theory: risk ## what predicts the risk, what does not -> theory.csv, theory.h5
report: theory ## report.html and figures
$(STAGES):
	@$(RUN).$@ $(ARGUMENTS)

## upkeep
test: $(VENV)/.installed-dev ## the tests
	$(BIN)/python -m pytest -n 2 --dist worksteal
lint: $(VENV)/.installed-dev ## ruff, and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
docs: $(VENV)/.installed-docs ## the documentation, under build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
bench: $(VENV)/.installed-dev ## benchmarks, those in BENCH or all of them
	$(BIN)/python -m pip install -q -e '.[bench]'
	$(BIN)/python -m tests.bench $(BENCH)
clean: ## delete all results: runs/ and reports/ under OUTPUT [data]
	rm -rf '$(or $(OUTPUT),data)/runs' '$(or $(OUTPUT),data)/reports'

.DEFAULT:
	@echo "make: no target '$@'. Targets: help demo all plan compare $(STAGES) test lint docs bench clean" >&2; exit 2

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e '.[demo]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install -e '.[demo,dev]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python -m pip install -e '.[demo,docs]'
	@touch $@
