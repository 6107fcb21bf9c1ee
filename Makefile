# Everything here makes what it needs first, so each target works on a fresh clone.
# Options for the command behind a target go into ARGS:  make demo ARGS=big.json

VENV := .venv
BIN := $(VENV)/bin
MINISTACK := .venv-ministack
# One version, since the tests rely on what it refuses.
MINISTACK_VERSION := 1.5.33
INFRASTRUCTURE := .venv-infrastructure
BENCH := .venv-bench
BENCH_TASKIQ := .venv-bench-taskiq
BENCH_FANFERRO := .venv-bench-fanferro
PEERS := tests/benchmarks/peers
BENCH_STAMPS := $(BENCH)/.peers $(BENCH_TASKIQ)/.peers $(BENCH_FANFERRO)/.peers $(MINISTACK)/.installed-$(MINISTACK_VERSION)
TYPESCRIPT := docs/examples/typescript_worker
RELEASE := .venv-release
PYTHONS := $(addprefix pytest-,3.11 3.12 3.13)
ARGS ?=

# A shell's own settings must not leak into these environments. The tests start Python by the hundred,
# and each would compile all that it loads.
unexport PYTHONHOME PYTHONPATH PIP_USER PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint types imports typescript pytest long coverage faults fuzz soak bench bench-quick first-page scale docs public-interface public-use $(PYTHONS) pytest-lowest dist release-check infrastructure format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.cli ## send large messages through a queue, a store and a worker, all local
	$(BIN)/claimcheck demo $(ARGS)

# The quickest first, and then side by side: many tests wait, and leave half a core.
test: lint ## lint, types, the import rules and the tests; CI runs `make long` too
	$(MAKE) -j 3 types imports pytest

lint: $(VENV)/.dev ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

# The Python of README, docs and examples is checked by tests/docs/test_types.py.
types: $(VENV)/.dev ## mypy, strict
	$(BIN)/mypy

imports: $(VENV)/.dev ## import-linter: who may import whom
	$(BIN)/lint-imports

typescript: $(TYPESCRIPT)/dist/.built ## the example in TypeScript, which the tests run if there is Node 20

# Three times as many at a time as CI has cores, since many tests wait for a server or a process.
pytest: $(VENV)/.compiled $(MINISTACK)/.installed-$(MINISTACK_VERSION) typescript ## the tests, with the size audit
	$(BIN)/pytest -n 6 --dist worksteal --claimcheck-audit $(ARGS)

long: $(VENV)/.dev $(MINISTACK)/.installed-$(MINISTACK_VERSION) ## the tests that pytest leaves out: more servers, stores and faults
	$(BIN)/pytest -n 6 --dist worksteal -m long $(ARGS)

coverage: $(VENV)/.dev $(MINISTACK)/.installed-$(MINISTACK_VERSION) typescript ## the tests, half as quick, with branch coverage
	$(BIN)/pytest -n 6 --dist worksteal --cov $(ARGS)

faults: $(VENV)/.dev $(MINISTACK)/.installed-$(MINISTACK_VERSION) ## kill a process, or fail a call, at every step on every store, and print tables; the tests do a part
	$(BIN)/python -m tests.faults.matrix $(ARGS)

soak: $(VENV)/.dev $(MINISTACK)/.installed-$(MINISTACK_VERSION) ## 10,000 messages, workers killed, duplicates; fewer with ARGS='--messages 500'
	$(BIN)/python -m tests.faults.posts
	$(BIN)/python -m tests.faults.moving
	$(BIN)/python -m tests.faults.inventories
	$(BIN)/python -m tests.faults.soak $(ARGS)

fuzz: $(VENV)/.dev ## feed 100,000 messages, most of them broken, to all that reads one; more with ARGS='--inputs N'
	$(BIN)/python -m tests.fuzz.fuzz $(ARGS)

bench: $(BENCH_STAMPS) ## measure against other libraries, and write docs/performance.md; see ARGS=--help
	$(BENCH)/bin/python -m tests.benchmarks $(ARGS)

bench-quick: $(BENCH_STAMPS) ## the same in a few minutes: fewer payloads and runs, nothing in docs/
	$(BENCH)/bin/python -m tests.benchmarks --quick $(ARGS)

first-page: $(VENV)/.dev ## time the console's pages on 100,000 messages; fails if the first takes over 300 ms
	$(BIN)/python -m tests.benchmarks.console

scale: $(VENV)/.dev ## simulate deployments under AWS's limits, for docs/scale.md, and the library under them for longer
	$(BIN)/python -m tests.benchmarks.scale $(ARGS)
	SCALE_MESSAGES=300 $(BIN)/pytest -q tests/benchmarks/test_scale.py

# What the pages link to must be there; a warning is an error.
docs: $(VENV)/.dev ## build the documentation site into build/site
	$(BIN)/python -m docs.site build/docs
	$(BIN)/zensical build --strict --clean

public-interface: $(VENV)/.dev ## renew the list of all public names, when a change of it is meant
	$(BIN)/python -m tests.release.interface --write

public-use: $(VENV)/.dev ## print which test or page uses each public name and option; fails if none does
	$(BIN)/python -m tests.release.uses

# What pytest does, in an environment of its own: make pytest-3.12
$(PYTHONS): pytest-%:
	$(MAKE) pytest VENV=.venv-$*

pytest-lowest: $(RELEASE)/.tools $(MINISTACK)/.installed-$(MINISTACK_VERSION) ## the tests, on the lowest versions of all dependencies
	$(RELEASE)/bin/python -m tests.release.lowest $(ARGS)

dist: $(RELEASE)/.tools ## build sdist and wheel into dist/, and look into both
	rm -rf dist
	$(RELEASE)/bin/python -m build --outdir dist
	$(RELEASE)/bin/python -m tests.release.distributions dist $(TAG)

# What an installation with all extras gets today: as a list, as an SBOM, and by its advisories.
release-check: dist ## all that must hold before a release, but the tests; AUDIT=skip asks no advisory service
	$(RELEASE)/bin/python -m tests.release.installing dist $(ARGS)
	mkdir -p build/release
	$(RELEASE)/bin/python -m uv pip compile --quiet --all-extras --python $(RELEASE)/bin/python --upgrade \
		--output-file build/release/requirements.txt pyproject.toml
	$(RELEASE)/bin/python -m uv venv --quiet --clear --python $(RELEASE)/bin/python build/release/environment
	$(RELEASE)/bin/python -m uv pip install --quiet --python build/release/environment \
		--requirement build/release/requirements.txt dist/*.whl
	$(RELEASE)/bin/cyclonedx-py environment --pyproject pyproject.toml --mc-type library \
		--output-reproducible --output-file build/release/sbom.cdx.json build/release/environment
ifeq ($(AUDIT),skip)
	@echo "- AUDIT=skip: no advisory service was asked. Do not publish before one was."
else
	$(RELEASE)/bin/python -m tests.release.audit build/release/requirements.txt
endif

infrastructure: $(VENV)/.dev $(MINISTACK)/.installed-$(MINISTACK_VERSION) $(INFRASTRUCTURE)/.tools ## the tests of docs/infrastructure, with CDK and other heavy tools
	LETSGO_TEST_TOOLS=$(CURDIR)/$(INFRASTRUCTURE)/bin $(BIN)/pytest -q tests/docs/infrastructure $(ARGS)

format: $(VENV)/.dev ## let ruff fix and format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove the environments and all that was made
	rm -rf $(VENV) $(MINISTACK) $(BENCH) $(BENCH_TASKIQ) $(BENCH_FANFERRO) $(RELEASE) .venv-3.* build dist htmlcov .coverage .coverage.*
	rm -rf $(TYPESCRIPT)/node_modules $(TYPESCRIPT)/dist
	rm -rf .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp file says that an environment is complete.

$(VENV)/.cli: pyproject.toml | $(VENV)/.made
	@echo "Installing letsgo-claimcheck into $(VENV)"
	$(BIN)/python -m pip install --quiet --editable '.[cli]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.made
	@echo "Installing letsgo-claimcheck and its development tools into $(VENV)"
	$(BIN)/python -m pip install --quiet --editable '.[aiobotocore,celery,cli,console,django,dramatiq,encryption,metrics,otel,reload,taskiq]' --group dev
	@touch $(VENV)/.cli $@

# Else each worker of pytest compiles all tests of a fresh clone.
$(VENV)/.compiled: $(VENV)/.dev
	-@$(BIN)/pytest --collect-only --quiet > $@

$(RELEASE)/.tools: pyproject.toml | $(RELEASE)/.made
	@echo "Installing what builds and checks a release into $(RELEASE)"
	$(RELEASE)/bin/python -m pip install --quiet --group release
	@touch $@

# MiniStack needs one exact botocore, so it lives apart.
$(MINISTACK)/.installed-$(MINISTACK_VERSION): | $(MINISTACK)/.made
	@echo "Installing MiniStack, an AWS server for the tests, into $(MINISTACK)"
	$(MINISTACK)/bin/python -m pip install --quiet 'ministack==$(MINISTACK_VERSION)'
	@touch $@

# Each of these has the Python of its name.
.venv-3.%/.made: FIND_PYTHON = $(call find_python,$(patsubst .venv-3.%,%,$*),"$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/*/bin/python,==)

# What is compared, each at one version. taskiq-aio-sqs needs another botocore than the rest. All have
# the Python that fanferro needs, where there is one: it reads JSON in two thirds of the time.
$(BENCH)/.made $(BENCH_TASKIQ)/.made: FIND_PYTHON = ($(FIND_PYTHON_3_12)) 2>/dev/null || ($(call find_python,11))
$(BENCH)/.peers: pyproject.toml $(PEERS)/requirements.txt | $(BENCH)/.made
	@echo "Installing letsgo-claimcheck and what it is measured against into $(BENCH)"
	$(BENCH)/bin/python -m pip install --quiet --editable '.[encryption]' --requirement $(PEERS)/requirements.txt
	@touch $@

$(BENCH_TASKIQ)/.peers: $(PEERS)/requirements-taskiq.txt | $(BENCH_TASKIQ)/.made
	@echo "Installing taskiq-aio-sqs into $(BENCH_TASKIQ)"
	$(BENCH_TASKIQ)/bin/python -m pip install --quiet --requirement $(PEERS)/requirements-taskiq.txt
	@touch $@

# fanferro needs Python 3.12: without one its environment stays empty, and it is left out.
$(BENCH_FANFERRO)/.peers: $(PEERS)/requirements-fanferro.txt
	@rm -rf $(BENCH_FANFERRO) && mkdir $(BENCH_FANFERRO)
	@if python=$$($(FIND_PYTHON_3_12) 2>/dev/null); then \
		echo "Installing fanferro into $(BENCH_FANFERRO)"; \
		"$$python" -m venv $(BENCH_FANFERRO) && $(BENCH_FANFERRO)/bin/python -m pip install --quiet \
			--requirement $(PEERS)/requirements-fanferro.txt; \
	else \
		echo "fanferro is left out: it needs Python 3.12 or newer, and none was found"; \
	fi
	@touch $@

# Of the last package only the text is read: what it needs stays away.
$(INFRASTRUCTURE)/.tools: tests/docs/infrastructure/requirements.txt | $(INFRASTRUCTURE)/.made
	@echo "Installing what checks docs/infrastructure into $(INFRASTRUCTURE)"
	$(INFRASTRUCTURE)/bin/python -m pip install --quiet --requirement tests/docs/infrastructure/requirements.txt
	$(INFRASTRUCTURE)/bin/python -m pip install --quiet --no-deps 'cdktf-cdktf-provider-aws==21.22.1'
	@touch $@

# Without Node 20 and npm nothing is made, and the tests of the example are skipped.
$(TYPESCRIPT)/dist/.built: $(wildcard $(TYPESCRIPT)/src/*.ts $(TYPESCRIPT)/*.json)
	@rm -rf $(TYPESCRIPT)/dist && mkdir $(TYPESCRIPT)/dist
	@if node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null && npm --version >/dev/null 2>&1; then \
		echo "Building the TypeScript example"; \
		cd $(TYPESCRIPT) && npm ci --loglevel=error --no-audit --no-fund >/dev/null && npm run --silent build; \
	else \
		echo "The TypeScript example is left out: it needs Node 20 or newer, with npm"; \
	fi
	@touch $@

# pip learned --group in 25.1, and many Pythons bring an older one.
%/.made:
	@python=$$( $(FIND_PYTHON)) && "$$python" -m venv --clear $*
	$*/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

# Prints the first Python that is new enough, as the installation itself and not as an active
# virtual environment's or a version manager's stand-in for it.
FIND_PYTHON = $(call find_python,11)
# A version manager may have one that is not on the path.
FIND_PYTHON_3_12 = $(call find_python,12,"$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python)

define find_python
for python in python3 python3.13 python3.12 python3.11 python3.14 $(2); do \
	"$$python" -c 'import sys, ensurepip; sys.version_info[:2] $(or $(3),>=) (3, $(1)) or sys.exit(1); print(sys._base_executable)' \
		2>/dev/null && exit; \
done; \
echo 'No Python 3.$(1)$(if $(3),, or newer) found (tried python3, python3.11 to python3.14; it must have its venv' \
	'module: on Debian and Ubuntu, "apt install python3-venv").' >&2; exit 1
endef
