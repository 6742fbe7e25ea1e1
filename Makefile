# make test: the whole check, from nothing. make help: the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# Nothing here may ask a model hub. The models of the tests are so small that a second thread only makes them slower.
export HF_HUB_OFFLINE := 1
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.DEFAULT_GOAL := test
.PHONY: test test-slow test-clients test-server lint format docs wheel clean help

test: lint  ## lint, types and tests; installs what they need into .venv first
	$(BIN)/python -m pytest $(ARGS)

test-slow: $(VENV)/dev  ## the tests that take more than a few seconds each
	$(BIN)/python -m pytest -m slow $(ARGS)

test-clients: .clients/dev  ## real client libraries against a running server, in a .clients of their own
	.clients/bin/python -m pytest -c tests/clients/pytest.ini -m clients tests/clients $(ARGS)

test-server: $(VENV)/dev  ## the server against schemathesis and a real browser; needs Chromium, installs the rest
	$(BIN)/pip install -q --disable-pip-version-check playwright schemathesis
	$(BIN)/python -m pytest -m "slow or browser" tests/serve $(ARGS)

lint: $(VENV)/dev  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/dev  ## rewrite files the way ruff formats them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/dev  ## run the documents' examples and write down what they print
	$(BIN)/python -m tests.shown

wheel: $(VENV)/dev  ## dist/*.whl: the package with two models inside, and the companion with mini-multilingual
	$(BIN)/pip wheel -q --no-deps -w dist . ./models/mini-multilingual

clean:  ## remove .venv, .clients, caches and builds
	rm -rf $(VENV) .clients build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1: /p' Makefile

# Made anew only when the requirements change; the name says what is in it.
$(VENV)/dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]' -e models/mini-multilingual
	@touch $@

# The clients' requirements do not mix with ours. infinity-client alone asks for an old httpx that it does not need.
.clients/dev: pyproject.toml tests/clients/requirements.txt
	$(PYTHON) -m venv .clients
	.clients/bin/pip install -q --disable-pip-version-check -e '.[serve]' pytest httpx 'torch==2.13.0' -r tests/clients/requirements.txt
	.clients/bin/pip install -q --disable-pip-version-check --no-deps infinity-client
	@touch $@
