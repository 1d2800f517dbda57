# Two commands on a fresh machine: `make demo` and `make test`. Everything else is a chore of one line.

PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
BIN := .venv/bin
# On tensors as small as the tests' a second torch thread only waits.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-vllm setup setup-dev setup-vllm up down lint format unit clean

demo: setup ## set up, start everything on this machine, run the demo experiment, print its leaderboard
	@env -u OMP_NUM_THREADS $(BIN)/mtprl demo

test: setup-dev lint unit ## lint, types, layers and all tests

test-vllm: setup-vllm ## the tests with a real vLLM, for processors
	.venv-vllm/bin/python -m pytest tests/vllm

setup: ## make .venv
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found; install one, or name it: make setup PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m backend.bootstrap

setup-dev:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found; install one, or name it: make setup PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m backend.bootstrap --dev

setup-vllm: ## make .venv-vllm: this program with vLLM's build for processors
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found; install one, or name it: make setup-vllm PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m backend.bootstrap --vllm

up: setup ## start Redis, worker and dashboard in the background
	@env -u OMP_NUM_THREADS $(BIN)/mtprl up

down: ## stop what `make up` or `make demo` started, and nothing else
	@$(BIN)/mtprl down

lint: setup-dev ## style, types, one-way imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: setup-dev ## rewrite the sources in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

unit: setup-dev ## all tests in two processes: the fast ones first, then the slow ones, which start services
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist worksteal
	$(BIN)/python -m pytest -m slow -n 2 --dist worksteal

clean: down ## remove the environment; runs and models under .mtprl stay
	rm -rf .venv build dist *.egg-info
