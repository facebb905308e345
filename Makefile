# Every target sets up its own environment. Any field of the configuration is a variable: make all MODEL=resnet50 TRAIN=10000
# Make's timestamps decide nothing: each stage looks at its manifest and says `cached` when there is nothing to do.

PYTHON ?= python3
VENV ?= .venv
CONFIG ?=
RUNS ?=
BENCH ?=

BIN := $(VENV)/bin
OWN := PYTHON VENV CONFIG RUNS BENCH
FIELDS = $(foreach v,$(filter-out $(OWN),$(.VARIABLES)),$(if $(filter command,$(origin $v)),'$v=$($v)'))
STAGES := extract gram spectrum risk theory report
RUN = $(BIN)/python -m pipelines

.PHONY: help demo all $(STAGES) compare plan test lint bench clean

help: ## explain targets and variables
	@echo 'usage: make TARGET [CONFIG=demo] [FIELD=VALUE ...]'
	@echo
	@sed -n 's/^\([a-z][a-z ]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{printf "%-10s %s\n", $$1, $$2}'
	@echo
	@echo '  CONFIG     a YAML file, or the name of one in pipelines/experiments: $(basename $(notdir $(wildcard pipelines/experiments/*.yaml)))'
	@echo '  FIELD      any field of the configuration in capitals: MODEL, INIT, DATASET, TRAIN, TEST, IMG_SIZE, SIZES, RIDGES, ...'
	@echo '  VENV       the virtual environment [.venv]; PYTHON  the interpreter that makes it [python3]'
	@echo
	@echo '  make all MODEL=resnet50 DATASET=cifar100 INIT=pretrained TRAIN=10000'
	@echo '  $(BIN)/python -m pipelines.plan --help    lists every field'

demo: CONFIG = demo
demo: all ## MNIST digits, EfficientNet-Lite0, pretrained and random: every stage, in minutes, offline
all: report ## every stage, then the report

# The stages run in order, once each; a stage that is done says so and costs nothing.
extract: $(VENV)/.installed ## images, backbone -> features.h5
gram: extract ## features -> gram.h5
spectrum: gram ## eigenvalues and target coefficients -> spectrum.h5
risk: spectrum ## GCV, LOO and test risk over sizes and ridges -> risk.csv
theory: risk ## what predicts the risk and what does not -> theory.csv, theory.h5
report: theory ## report.html and figures
$(STAGES):
	@$(RUN).$@ --config '$(CONFIG)' $(FIELDS)

compare: $(VENV)/.installed ## one report over finished runs: RUNS="name name ...", or all of them
	@$(RUN).compare --config '$(CONFIG)' $(foreach r,$(RUNS),--run '$r') $(FIELDS)

plan: $(VENV)/.installed ## what a configuration will cost, before anything runs
	@$(RUN).plan --config '$(CONFIG)' $(FIELDS)

test: $(VENV)/.installed-dev ## the tests
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.installed-dev ## ruff, and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

bench: $(VENV)/.installed-dev ## benchmarks: BENCH="cached memory entk entk_zoo entk_growth ridge ridge_large theory cuda", or all of them
	$(BIN)/python -m pip install -q -e '.[bench]'
	$(BIN)/python -m tests.bench $(BENCH)

clean: ## delete every result: runs/ and reports/ under OUTPUT [data]; data sets, weights and the environment stay
	rm -rf '$(or $(OUTPUT),data)/runs' '$(or $(OUTPUT),data)/reports'

.DEFAULT:
	@echo "make: no target '$@'. Targets: demo all $(STAGES) compare plan test lint bench clean help" >&2; exit 2

$(VENV)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e '.[demo]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install -e '.[demo,dev]'
	@touch $@
