# dcp-hw: `make help` lists the targets. Needs Python >= 3.11, g++ and make; the rest is set up here.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

LAYERSET  ?= mobilenetv2
HW        ?=
OBJECTIVE ?= edp
MODES     ?= fixed,per-layer,example
SEARCH    ?= exact
LAYERS    ?=
SEED      ?= 0
OUT       ?= build/$(basename $(notdir $(LAYERSET)))
N         ?= 200
JOBS      ?= auto

PY      := .venv/bin/python
DCP     := .venv/bin/dcp-hw
PYTEST  := $(PY) -m pytest
MAIN    := .venv/main.stamp
TORCH   := .venv/torch.stamp

PYTHON_SOURCES := $(shell find dcp_hw tensorlib sim predictors -type f -not -path '*/__pycache__/*' 2>/dev/null)
SCALA_SOURCES  := $(shell find rtl_templates/src/main rtl_templates/build.sbt rtl_templates/project -maxdepth 4 -type f -not -path '*/target/*' 2>/dev/null)

.PHONY: help setup setup-torch generate dataset test test-unit test-scala test-rtl test-flow \
        regress lint format bench bench-maestro honest-check lock clean dse loop FORCE

help: ## This list
	@printf 'usage: make TARGET [NAME=value ...]\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\n%s\n' 'example: make generate LAYERSET=resnet101 OBJECTIVE=latency LAYERS=conv1,layer1_0_conv1'

# --- environment --------------------------------------------------------------------

setup: $(MAIN) ## Python environment in .venv, from hash-locked requirements
$(MAIN): requirements/main.lock pyproject.toml scripts/setup.sh
	@scripts/setup.sh main
	@touch $@

setup-torch: $(TORCH) ## The same with torch (several GB); a torch already there is left alone
$(TORCH): requirements/torch.lock scripts/setup.sh $(MAIN)
	@scripts/setup.sh torch
	@touch $@

lock: ## Renew requirements/*.lock from requirements/*.in
	@scripts/lock.sh

# --- hardware -----------------------------------------------------------------------

GENERATE_ARGS = --layerset '$(LAYERSET)' --objective '$(OBJECTIVE)' --modes '$(MODES)' \
    --seed '$(SEED)' --search '$(SEARCH)' --out '$(OUT)' $(if $(HW),--hw '$(HW)') $(if $(LAYERS),--layers '$(LAYERS)')

generate: $(OUT)/generate.stamp ## Verilog of every layer in LAYERSET [HW OBJECTIVE MODES SEARCH=exact|dcp|dcp-without-gradients LAYERS SEED OUT]
	@echo 'up to date: $(OUT)' >&2
$(OUT)/generate.stamp: $(OUT)/generate.args $(PYTHON_SOURCES) $(SCALA_SOURCES) $(filter %.csv %.yaml %.json,$(wildcard $(LAYERSET) $(HW))) | $(MAIN) $(if $(filter dcp%,$(SEARCH)),$(TORCH))
	$(DCP) generate $(GENERATE_ARGS)
	@touch $@

# Holds the settings of the last run, so that other settings count as a change.
$(OUT)/generate.args: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' "$(GENERATE_ARGS)" | cmp -s - $@ || printf '%s\n' "$(GENERATE_ARGS)" >$@

PROFILE ?= realistic

loop: $(TORCH) ## Search, measure, fine-tune, search again on LAYERSET [HW PROFILE LAYERS SEED], more in ARGS
	$(DCP) loop --layerset '$(LAYERSET)' --profile '$(PROFILE)' --seed '$(SEED)' $(if $(HW),--hw '$(HW)') \
	    $(if $(LAYERS),--layers '$(LAYERS)') $(ARGS)

STYLE ?= kc-p

dse: $(MAIN) ## Sweep hardware of a dataflow STYLE (kc-p, yr-p, yx-p) on LAYERSET, limits in ARGS
	$(DCP) dse --style '$(STYLE)' --layerset '$(LAYERSET)' $(if $(LAYERS),--layers '$(LAYERS)') $(ARGS)

# --- data ----------------------------------------------------------------------------

dataset: $(MAIN) ## 2,000 layers x 2,000 dataflows with their metrics, as Parquet [SEED]
	$(DCP) dataset --space maestro --layers 2000 --dataflows 2000 --seed '$(SEED)'

# --- checks -------------------------------------------------------------------------

test: test-unit test-scala test-rtl test-flow ## The four below

# `make test` leaves nothing out, so it wants torch; a level by itself skips what needs it.
TEST_ENV := $(if $(filter test,$(MAKECMDGOALS)),$(TORCH),$(MAIN))

test-unit: $(TEST_ENV) ## Exact properties in Python: no JVM, no simulator
	$(PYTEST) tests/unit -n $(JOBS)

test-scala: $(MAIN) ## ScalaTest of the Chisel templates
	$(PY) -m dcp_hw.toolchain sbt test

test-rtl: $(TEST_ENV) ## Generated arrays in Verilator against the reference
	$(PYTEST) tests/rtl -n $(JOBS) --dist loadfile

test-flow: $(TEST_ENV) ## A tiny layer set from CSV to report, and again with nothing to do
	$(PYTEST) tests/flow

regress: $(MAIN) ## N random dataflows from SEED, simulated against the reference
	$(DCP) regress --count '$(N)' --seed '$(SEED)' --out build/regress

lint: $(MAIN) ## ruff on the Python files, bash -n on the scripts
	.venv/bin/ruff check --quiet .
	.venv/bin/ruff format --check --quiet .
	bash -n .ci/run scripts/*.sh

format: $(MAIN) ## Lays out Python and Scala files
	.venv/bin/ruff check --fix --quiet .
	.venv/bin/ruff format .
	$(PY) -m dcp_hw.toolchain sbt scalafmtAll scalafmtSbt

bench: $(MAIN) ## Speed of search and cycle model on MobileNet-V2
	$(PY) -m benchmarks

bench-maestro: $(MAIN) ## Speed of both models of the MAESTRO space
	$(PY) -m benchmarks.maestro

# With bounds checks, whose code is compiled apart from that of everyday use.
honest-check: N := 20000
honest-check: $(MAIN) ## Honest model against its interpreter, 20000 random mappings [N SEED]
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=build/numba-checked $(PY) -m dcp_hw.maestro.honest_check --n '$(N)' --seed '$(SEED)'

clean: ## Removes build/ only; the environment and caches stay
	rm -rf build
