# The two commands of the README, and the rest of a day's work. Needs Python 3.11 or later and make.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.complete
PACKAGES := millrace pipelines blocks tasks flows cli seed_data local

.PHONY: demo demo-totesys demo-stocks demo-events up test mysql mariadb torture lint audit clean lock

demo: $(STAMP)
	$(BIN)/python -m local run -- env PREFECT_LOGGING_LEVEL=WARNING $(BIN)/python -m local.demo

demo-totesys: $(STAMP)
	$(BIN)/python -m local run -- env PREFECT_LOGGING_LEVEL=WARNING $(BIN)/python -m local.demo_totesys $(DEMO)

demo-stocks: $(STAMP) mysql
	$(BIN)/python -m local run --mysql -- env PREFECT_LOGGING_LEVEL=WARNING $(BIN)/python -m local.demo_stocks $(DEMO)

demo-events: $(STAMP)
	$(BIN)/python -m local run -- env PREFECT_LOGGING_LEVEL=WARNING $(BIN)/python -m local.demo_events $(DEMO)

up: $(STAMP)
	$(BIN)/python -m local up

# Counting lines costs next to nothing where Python has sys.monitoring (3.12), a few per cent elsewhere.
COVERAGE_CORE = $(shell $(BIN)/python -c 'import sys; print("sysmon" if hasattr(sys, "monitoring") else "ctrace")')

test: $(STAMP) mysql
	mkdir -p .local
	COVERAGE_CORE=$(COVERAGE_CORE) $(BIN)/python -m pytest -n 3 --dist loadfile --durations 20 --cov

# A MySQL server to test against: the one that MYSQL_URL names, else MariaDB's programs, which Debian's package brings
# without starting a service.
MARIADB = PATH="$$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"; command -v mariadbd && command -v mariadb-install-db

mysql:
	@test -n "$(MYSQL_URL)" || { $(MARIADB); } > /dev/null || { command -v apt-get > /dev/null && $(MAKE) mariadb; } || { \
		echo "Install MariaDB's server, or set MYSQL_URL to the URL of a MySQL server's superuser."; exit 2; }

mariadb: SUDO = $(shell test "$$(id -u)" = 0 || command -v sudo)
mariadb:
	$(SUDO) apt-get update -qq
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends mariadb-server-core mariadb-client-core

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet -c pyproject.toml -r $(PACKAGES) .ci
	$(BIN)/cfn-lint infra/stack.yaml

audit: $(STAMP)
	$(BIN)/python .ci/audit.py requirements.txt

test-redshift: $(STAMP)
	@test -n "$(REDSHIFT_URL)" || { echo "Set REDSHIFT_URL, REDSHIFT_S3_BUCKET and REDSHIFT_IAM_ROLE."; exit 2; }
	$(BIN)/python -m pytest tests/local/redshift -k contract

HISTORIES ?= 1000
SEED ?= 1
FIRST ?= 0

torture: $(STAMP)
	$(BIN)/python -m tests.torture --histories $(HISTORIES) --seed $(SEED) --first $(FIRST)

lock:
	$(BIN)/uv pip compile --universal --generate-hashes --quiet pyproject.toml --extra dev -o requirements-dev.txt -p 3.11
	$(BIN)/uv pip compile --universal --generate-hashes --quiet pyproject.toml -c requirements-dev.txt -o requirements.txt -p 3.11

clean:
	rm -rf .venv .local

# uv from the lock itself, so that every version is pinned by hash; then everything else through uv, in seconds.
$(STAMP): requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv .venv
	grep -A 40 '^uv==' requirements-dev.txt | sed -n '1p;2,/^[^ ]/{/^    --hash/p}' > .venv/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements-dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@
