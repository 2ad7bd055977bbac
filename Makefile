# Two commands are all that a fresh machine needs: `make demo` and `make test`.
# Both install what they need: system packages with apt when run as root, Python ones in .venv.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup system test lint typecheck unit crash demo fuzz bench clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Peers are judges in the tests; mmdebstrap makes the Debian base of the demo.
PACKAGES := ca-certificates mmdebstrap busybox-static skopeo umoci buildah docker-registry runc \
            iproute2 nftables libarchive-tools attr tar python3-venv
PROGRAMS := mmdebstrap busybox skopeo umoci buildah docker-registry runc ip nft bsdtar setfattr

help: ## what can be made
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

system: ## install the system packages that are missing (root, Debian)
	@missing=""; for program in $(PROGRAMS); do \
	  command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	if ! $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null; then missing="$$missing python3-venv"; fi; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then echo "missing:$$missing; install as root: apt-get install $(PACKAGES)"; exit 0; fi; \
	echo "installing for:$$missing"; \
	policy=/usr/sbin/policy-rc.d; made=""; \
	if [ ! -e $$policy ]; then printf '#!/bin/sh\nexit 101\n' >$$policy; chmod 755 $$policy; made=1; fi; \
	apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(PACKAGES); \
	status=$$?; if [ -n "$$made" ]; then rm -f $$policy; fi; exit $$status

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -e '.[test]'
	@touch $@

setup: system ## make the virtual environment
	@$(MAKE) --no-print-directory $(STAMP)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

typecheck: setup
	$(BIN)/mypy

unit: setup
	$(BIN)/pytest -q -n 2 --dist loadgroup --max-worker-restart 2 tests

test: lint typecheck unit ## everything that must hold: format, lint, types, ranks, tests

crash: setup ## every kill and every full disk, of which the tests try some each day
	$(BIN)/pytest -q -n 2 --all-faults --timeout 900 tests/faults

SECONDS ?= 60
FUZZ_SCRATCH ?= build-output/fuzz
fuzz: setup ## mutate archives for SECONDS in each of five ways
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
	  $(BIN)/pip install -q --disable-pip-version-check -e '.[fuzz]' || true
	@for target in read apply compare decompress documents; do echo "== $$target"; \
	  $(BIN)/python -m tests.fuzz.run $$target --seconds $(SECONDS) --scratch $(FUZZ_SCRATCH) \
	    || exit 1; done

demo: setup ## the main job on real input: build, push, pull, run, commit
	$(BIN)/python testdata/demo/run.py

bench: setup ## figures beside the peers'
	@for bench in tests/benchmarks/bench_*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

clean: ## remove what was made here
	rm -rf $(VENV) build-output .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
