# `make help` says what there is. Works with GNU make 3.81 (macOS) and newer.
PY = .venv/bin/python
PORT ?= 8000
SIMULATOR ?= yes
PACE ?= demo
WORKERS ?= 2
SEEDS ?= 50
SEED_FROM ?= 1
FILE ?=
ACCOUNT ?=
CMD ?= help
export PYTHON
# What Python compiled is kept: without it every process compiles hundreds of modules anew, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install assets run demo owner manage simulator test test-needs lint audit format bench chaos lock clean

help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: ## Put the locked packages into .venv, unless they are there
	@sh scripts/install.sh

assets: install ## Fetch and build the front-end files, unless they are there
	@$(PY) scripts/assets.py

run: assets ## Start everything and say where (PORT=8001, PACE=fast|demo|real, WORKERS=2, SIMULATOR=no)
	@$(PY) -m scripts.run --port='$(PORT)' --pace='$(PACE)' --workers='$(WORKERS)' --simulator='$(SIMULATOR)'

demo: assets ## Onboard an example to the end in a temporary stack, and show the steps (FILE=examples/….yaml)
	@$(PY) -m scripts.demo $(if $(FILE),'$(FILE)')

manage: install ## A management command beside `make run` (CMD="status")
	@$(PY) -m scripts.manage $(CMD)

owner: install ## Run a downloaded script as the owner of an AWS account of the local Amazon (ACCOUNT=111122223333 FILE=…)
	@$(PY) -m scripts.owner "$(ACCOUNT)" "$(FILE)"

simulator: install ## The local Amazon alone (PORT=8900, PACE=…)
	@$(PY) -m scripts.amazon --port='$(if $(filter file,$(origin PORT)),8900,$(PORT))' --pace='$(PACE)'

test: assets test-needs ## All tests
	@$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test-needs: install
	@sh scripts/test-needs.sh

lint: assets ## Style, types, import contracts, migrations, deployment checks
	@$(PY) -m scripts.lint

audit: install ## Whether a locked package has a known vulnerability (asks a service on the internet)
	@$(PY) -m scripts.audit

format: install ## Bring the code into its style
	@$(PY) -m ruff check --quiet --fix . ; $(PY) -m ruff format --quiet .

bench: assets ## Speed, memory and calls to Amazon against what is bare or least; BENCH_OUT=folder keeps the figures
	@$(PY) -m bench

chaos: assets ## The whole crash matrix, then seeded random failures (SEEDS=1000 SEED_FROM=1)
	@$(PY) -m tests.chaos --matrix
	@$(PY) -m tests.chaos.identity
	@$(PY) -m tests.chaos --seeds $(SEEDS) --from $(SEED_FROM)

lock: install ## Resolve requirements/*.in anew, with hashes
	@sh scripts/lock.sh

clean: ## Remove what was installed and built (not var/, which holds the data)
	@rm -rf .venv node_modules build staticfiles .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
