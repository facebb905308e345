# Every target sets up its own environment. Any field of the configuration is a variable: make all
# MODEL=resnet50 TRAIN=10000
# Make's timestamps decide nothing: each stage reads its manifest and says `cached` when there is
# nothing to do.

#: CONFIG    a YAML file, or the name of one of the configurations below
CONFIG ?=
#: RUNS      of compare, compare-features, export, clean: names of runs, or the
#:           8 characters each ends in
RUNS ?=
#: EXPORT    of predict: the folder of an export
EXPORT ?=
#: IMAGES    of predict: files, folders, .tar archives
IMAGES ?=
#: BENCH     of bench, some of: cached memory entk entk_plan entk_zoo entk_growth
#:           schedule paper ridge ridge_large theory swaps page cuda products
#:           accuracy pass_rates solves entk_cores scale coverage alarms
#:           paired balanced explained halving coverage_errors per_target
#:           rank rank_speed shared_images
BENCH ?=
#: BUDGET    of rank: the time that it may take, as in 10m
#: BY        of rank: what the order is by, accuracy or risk
#: JSON      1: print one line of JSON on stdout, and nothing else there
JSON ?=
#: VENV      the virtual environment [.venv]
VENV ?= .venv
#: PYTHON    the interpreter that makes it, 3.10 or later [python3]
PYTHON ?= python3
#: FIELD     any field of the configuration, over what CONFIG says of it;
#:           .venv/bin/rmtgen run --help explains each:

# Whatever the command line or the environment gives stays text. `value` takes it unexpanded, so that
# `$(shell ...)` in it runs nothing, not even where make exports it; a shell sees it between quotes;
# and `override` keeps it from taking the place of what is defined below.
override OWN := CONFIG RUNS EXPORT IMAGES BENCH JSON VENV PYTHON
override TYPED := $(foreach .v,$(OWN),$(if $(filter command environment,$(origin $(.v))),$(.v)))
override GIVEN := $(foreach .v,$(.VARIABLES),$(if $(filter command,$(origin $(.v))),$(.v)))
$(foreach .v,$(OWN) $(GIVEN),$(eval override $$(.v) := $$(value $$(.v))))
override .v :=
export $(GIVEN)
$(if $(findstring =,$(MAKECMDGOALS)),$(error expected targets and NAME=VALUE with a name that is \
  one word (such as IMG_SIZE=64), got: $(MAKECMDGOALS)))
override SHELL := /bin/sh
override .SHELLFLAGS := -c
.SUFFIXES:

override define NEWLINE


endef
export NEWLINE
override quoted = '$(subst ','\'',$1)'
# The same in a recipe, which a line break would end.
override pasted = $(subst $(NEWLINE),'"$$NEWLINE"',$(quoted))
override venv := $(call pasted,$(VENV))
override BIN := $(venv)/bin
override python_command := $(call pasted,$(PYTHON))
override STAGES := $(shell sed -n '/^STAGES/,/^}/s/^    "\([a-z]*\)": Stage.*/\1/p' \
  rmtgen/runs/graph.py)
override FIELDS := $(foreach .v,$(filter-out $(OWN),$(GIVEN)),$(call pasted,$(.v)=$($(.v))))
override FLAGS := $(if $(filter-out 0 false no off,$(JSON)),--json)
override ARGUMENTS := $(if $(CONFIG),$(call pasted,$(CONFIG))) $(FIELDS) $(FLAGS)
override NAMED := $(foreach .v,$(RUNS),$(call pasted,$(.v))) $(FIELDS) $(FLAGS)
override PREDICTED := $(if $(EXPORT),$(call pasted,$(EXPORT))) $(foreach \
  .v,$(IMAGES),$(call pasted,$(.v))) $(FIELDS) $(FLAGS)
override RMTGEN := $(BIN)/rmtgen
# What a command begins with when it names what to type next.
demo all plan rank $(STAGES): export RMTGEN_MAKE = make $(foreach .v,$(filter-out RUNS EXPORT IMAGES BENCH,$(TYPED)),\
  $(.v)=$(call quoted,$($(.v))))

.PHONY: help demo all $(STAGES) rank compare compare-features export predict plan test test-oldest torture lint docs bench clean

# The targets of one section of this file, each with what it says behind ##.
override listed = awk -v section='$1' -F '\#\# ' \
  '/^\#\# /{shown = $$2 == section; if (shown) print "\n" $$2} \
  shown && /^[a-z-]+:.*\#\# /{split($$1, name, ":"); printf "  %-17s %s\n", name[1], $$2}' Makefile

## start
help: ## this page
	@echo 'usage: make TARGET [CONFIG=NAME] [FIELD=VALUE ...]'
	@$(call listed,start)
	@echo
	@echo 'stages, each with those before it; one that is done says `cached`'
	@sed -n '/^STAGES/,/^}/p' rmtgen/runs/graph.py | awk -F '"' \
	  '/": Stage/{name=$$2} /summary=/{printf "  %-10s %s\n", name, $$2}'
	@$(call listed,upkeep)
	@echo
	@echo variables
	@sed -n 's/^#: /  /p' Makefile
	@sed -n 's/^    \([a-z0-9_]*\): .* = declared(.*/\1/p' rmtgen/runs/config.py \
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
demo: .installed ## real digits, pretrained and random: minutes, offline
	@$(RMTGEN) run demo $(ARGUMENTS)
all: .installed ## every stage of every run in one process, then the report
	@$(RMTGEN) run $(ARGUMENTS)
plan: .installed ## what a configuration will cost, before anything runs
	@$(RMTGEN) plan $(ARGUMENTS)
rank: .installed ## which representation is best, without a test set
	@$(RMTGEN) rank $(ARGUMENTS)
compare-features: .installed ## what representations share, and what one adds
	@$(RMTGEN) compare-features $(ARGUMENTS) $(if $(RUNS),--runs $(foreach .v,$(RUNS),$(call pasted,$(.v))))
export: .installed ## the probe of RUNS as networks that predict
	@$(RMTGEN) export $(NAMED)
predict: .installed ## the class of each of IMAGES, by EXPORT
	@$(RMTGEN) predict $(PREDICTED)
compare: .installed ## one report over finished runs, those in RUNS or all of them
	@$(RMTGEN) compare $(NAMED)

## stages
$(STAGES): .installed
	@$(RMTGEN) run --stage $@ $(ARGUMENTS)

## upkeep
test: .installed-dev ## the tests
	$(BIN)/python -m pytest -n 2 --dist worksteal
test-oldest: .installed-oldest ## the tests with the oldest versions that setup.cfg allows
	$(venv)-oldest/bin/python -m pytest -n 2 --dist worksteal
torture: .installed-dev ## 500 kills, 200 corruptions, bad disks, crowds; a table
	$(BIN)/python -m tests.torture
lint: .installed-dev ## ruff, mypy, and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
docs: .installed-docs ## the documentation, under build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
bench: .installed-dev ## benchmarks, those in BENCH or all of them
	$(BIN)/python -m pip install -q -e '.[bench]'
	$(BIN)/python -m tests.bench $(foreach .v,$(BENCH),$(call pasted,$(.v)))
clean: .installed ## delete all results: runs/ and reports/ under OUTPUT [data]
	@$(RMTGEN) clean $(NAMED)

.DEFAULT:
	@echo make: no target $(call pasted,'$@'). Targets: help demo all plan rank export predict compare \
  $(STAGES) \
	  test test-oldest torture lint docs bench clean >&2; exit 2

# What is installed, in a file that is newer than what says what to install. A name of a target
# cannot hold what a path can, so it is a shell that compares.
.PHONY: .installed .installed-dev .installed-oldest .installed-docs
override fresh = [ -e $1 ] && [ -z "$$(find setup.cfg pyproject.toml $2 -newer $1)" ]

.installed:
	@$(call fresh,$(venv)/$@) || { set -ex; $(python_command) -m venv $(venv); \
	  $(BIN)/python -m pip install -e '.[demo]'; touch $(venv)/$@; }
.installed-dev: .installed
	@$(call fresh,$(venv)/$@) || { set -ex; \
	  $(BIN)/python -m pip install -e '.[demo,dev]'; touch $(venv)/$@; }
.installed-docs: .installed
	@$(call fresh,$(venv)/$@) || { set -ex; \
	  $(BIN)/python -m pip install -e '.[demo,docs]'; touch $(venv)/$@; }
.installed-oldest: override venv := $(venv)-oldest
.installed-oldest:
	@$(call fresh,$(venv)/.installed,tests/oldest.py) || { set -ex; \
	  $(if $(filter PYTHON,$(TYPED)),$(python_command),$$(command -v python3.10 || echo python3)) \
	    -m venv $(venv); \
	  $(venv)/bin/python tests/oldest.py >$(venv)/constraints.txt; \
	  $(venv)/bin/python -m pip install -c $(venv)/constraints.txt -e '.[demo,dev]'; \
	  touch $(venv)/.installed; }
