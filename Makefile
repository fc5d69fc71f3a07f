# The commands of this repository. `make` alone lists them.

PYTHON ?= python3
ifndef SEED
SEED := $(shell date +%s)
endif
BIN := .venv/bin
SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)
UV := uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate
# More processes than cores, because tests wait half of the time. Each starts its own services and
# takes whole files, in the order of tests/conftest.py. The type checks run beside them.
PARALLEL ?= --numprocesses 5 --dist loadfile --no-loadscope-reorder
# Some unit tests wait for short pauses: one process more than cores, and the checks run beside them.
UNIT_PARALLEL ?= --numprocesses 3 --dist worksteal
# A run starts hundreds of Python processes: let them keep what they compile, whatever the caller's
# environment says.
export PYTHONDONTWRITEBYTECODE :=

TORTURE_TESTS := $(addprefix tests/fault/test_,lane_machine.py crash_steps.py poison.py \
	malformed_queue.py truth.py budget_race.py) $(addprefix tests/e2e/test_,idempotency.py \
	storage_transactions.py option_fuzz.py mcp_fuzz.py attacked_health.py keys.py \
	ownership.py secrets.py) $(addprefix \
	tests/integration/test_,option_fuzz.py header_fuzz.py table_judge.py) \
	tests/integration/worker/test_api_fuzz.py tests/unit/threads/test_removal.py \
	tests/cli/test_submitting.py

.DEFAULT_GOAL := help
.PHONY: help run check test unit torture interop bench lint templates types test-types tests format snapshots openapi pictures commands requirements infra-check package clean distclean

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

run: ## run the app with storage and a language model; PORT=7081 chooses another port
	@$(PYTHON) -m local.bootstrap run
	@exec $(BIN)/python -m local.run $(if $(PORT),--port $(PORT)) $(ARGS)

check: ## check style, types and imports and run the unit tests, in under a minute
	@$(PYTHON) -m local.bootstrap test
	@$(MAKE) --no-print-directory --jobs 2 $(SYNC) lint types unit

test: ## check everything and run every test; ARGS="tests/unit -k x" goes to pytest
	@$(PYTHON) -m local.bootstrap test
	@$(MAKE) --no-print-directory --jobs 2 $(SYNC) lint templates
	@$(MAKE) --no-print-directory --jobs 3 types test-types tests

torture: ## kill workers for half an hour; SEED=7 repeats its choices, ARGS="--jobs 500" sizes it
	@$(PYTHON) -m local.bootstrap test
	$(BIN)/python -m tests.torture --seed $(SEED) $(ARGS)
	$(BIN)/python -m tests.torture.latency
	TRUTH_SEED=$(SEED) TRUTH_TURNS=12000 BUDGET_SEED=$(SEED) BUDGET_ROUNDS=200 \
		TORTURE_SEED=$(SEED) LANE_MACHINE_EXAMPLES=5000 CRASH_STEPS_APART=1 \
		POISON_JOBS=5000 REMOVED_TURNS=10000 MALFORMED_MESSAGES=10000 \
		IDEMPOTENCY_CALLERS=1000 GUESSES=10000 FUZZ_EXAMPLES=5000 \
		HEADER_FUZZ_CASES=20000 JUDGE_SEED=$(SEED) JUDGE_OPERATIONS=5000 \
		API_FUZZ_SEED=$(SEED) API_FUZZ_EXAMPLES=1000 \
		API_FUZZ_PHASES=examples,coverage,fuzzing,stateful \
		ATTACKED_HEALTH_MS=250 SUBMITTED_LINES=10000 ASK_EVERY_WAY=1 \
		$(BIN)/pytest $(TORTURE_TESTS) -s --timeout 3600
	HYPOTHESIS_EXAMPLES=1000 $(BIN)/pytest $(UNIT_PARALLEL) tests/unit -m hypothesis --timeout 3600

interop: ## try other people's clients on the app, coding agents too
	@$(PYTHON) -m local.bootstrap test
	INTEROP_CODING_AGENTS=1 $(BIN)/pytest tests/interop --durations 12

bench: ## measure the client and the turns beside others; bench/README.md says how to read it
	@$(PYTHON) -m local.bootstrap test
	$(BIN)/python -m bench.app
	$(BIN)/python -m bench.faces
	$(BIN)/python -m bench.jobs
	$(BIN)/python -m bench.storage
	$(BIN)/python -m bench.turns
	$(BIN)/python -m bench.metering
	$(BIN)/python -m bench.client

lint: ## check style and the import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

templates: ## check that the templates are as their compiler formats them
	$(BIN)/python -m tests.infrastructure check

types: ## check the product's types, strictly
	$(BIN)/basedpyright

test-types: ## check the types of tests and bench
	$(BIN)/basedpyright --project tests

tests: ## run every test, without the checks
	$(BIN)/pytest $(PARALLEL) --durations 10 $(ARGS)

unit: ## run the unit tests
	$(BIN)/pytest $(UNIT_PARALLEL) tests/unit

format: ## rewrite the code in the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python -m tests.infrastructure format

snapshots: ## write anew what the committed snapshots say that the templates deploy
	$(BIN)/python -m tests.infrastructure snapshots

openapi: ## write anew the API document that the routes declare
	$(BIN)/python -m shared.commands.openapi >docs/openapi.json

pictures: ## make the pictures of docs/console.md anew
	CONSOLE_PICTURES=1 $(BIN)/pytest tests/e2e/test_console_screens.py

commands: ## write anew the page of the command line
	$(BIN)/python -m cli.reference >docs/cli.md

requirements: ## pin the declared dependencies anew, with hashes for what is deployed
	$(UV) pyproject.toml --generate-hashes --output-file requirements.txt
	$(UV) pyproject.toml --group local --output-file local/requirements.txt
	$(UV) pyproject.toml --extra cli --group local --group test --output-file tests/requirements.txt
	$(UV) tests/interop/requirements.in --output-file tests/interop/requirements.txt
	$(UV) tests/interop/llama-index.in --output-file tests/interop/llama-index.txt
	$(UV) tests/interop/mcp.in --output-file tests/interop/mcp.txt

infra-check: ## check templates, scripts, workflows and the deployment package (`make test` does too)
	@$(PYTHON) -m local.bootstrap test
	$(BIN)/pytest tests/infrastructure

package: ## build the deployment package, dist/app.zip
	@$(PYTHON) -m infra.scripts.package

clean: ## remove all local state: storage, conversations, logs, Azurite
	rm -rf .local

distclean: clean ## remove the virtual environment as well
	rm -rf .venv
