# The two commands of the README, and the rest of a day's work. Needs Python 3.11 or later and make.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.complete
# Compiled once: the tests start Python some hundred times, and Prefect alone takes 2 seconds to compile.
unexport PYTHONDONTWRITEBYTECODE
PACKAGES := millrace pipelines blocks tasks flows cli seed_data local infra

.PHONY: demo demo-totesys demo-stocks demo-events demo-own demo-changes up test coverage test-ecs test-newest run-newest wheels test-redshift check-redshift mysql mariadb pgbouncer torture lint docs audit clean lock \
	builder image push test-image containers podman

demo: $(STAMP)
	$(BIN)/python -m local run -- env PREFECT_LOGGING_LEVEL=WARNING $(BIN)/python -m local.demos.stori_demo

demo-totesys: $(STAMP)
	$(BIN)/python -m local run -- env PREFECT_LOGGING_LEVEL=WARNING $(BIN)/python -m local.demos.totesys_demo $(DEMO)

demo-stocks: $(STAMP) mysql
	$(BIN)/python -m local run --mysql -- env PREFECT_LOGGING_LEVEL=WARNING $(BIN)/python -m local.demos.stocks_demo $(DEMO)

demo-events: $(STAMP)
	$(BIN)/python -m local run -- env PREFECT_LOGGING_LEVEL=WARNING $(BIN)/python -m local.demos.events_demo $(DEMO)

demo-own: $(STAMP) mysql
	$(BIN)/python -m local run --mysql -- env PREFECT_LOGGING_LEVEL=ERROR $(BIN)/python -m local.demos.own_demo

demo-changes: $(STAMP) mysql
	$(BIN)/python -m local run --mysql -- env PREFECT_LOGGING_LEVEL=WARNING $(BIN)/python -m local.demos.changes_demo $(DEMO)

up: $(STAMP)
	$(BIN)/python -m local up

# Counting lines costs next to nothing where Python has sys.monitoring (3.12), and half as much CPU again as the tests'
# own process elsewhere; a seventh where one case of each test counts them (tests/counted_lines.py; 2026-12-01). So it is
# done by `make coverage`, which .ci/run calls, and not by `make test`.
COVERAGE_CORE = $(shell $(BIN)/python -c 'import sys; print("sysmon" if hasattr(sys, "monitoring") else "ctrace")')
COVERAGE =

# The workers share the cores: more threads of Polars take 5 % more CPU for frames of a few rows.
# In a random order, whose seed is printed: `make test WORKERS=5 SEED=7` runs in the same order again.
WORKERS ?= 3
SEEDED = $(if $(SEED),TEST_SEED=$(SEED))

test: $(STAMP) mysql pgbouncer
	mkdir -p .local
	$(SEEDED) POLARS_MAX_THREADS=1 $(COVERAGE) $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup \
		--durations 20 $(if $(COVERAGE),--cov) --ignore tests/ecs

# The same suite, and at least 90 % of the lines that ship are run.
coverage: COVERAGE = COVERAGE_CORE=$(COVERAGE_CORE)
coverage: test

# The chain from Prefect's server to the warehouse by way of a worker and ECS tasks.
test-ecs: $(STAMP)
	$(SEEDED) $(BIN)/python -m pytest -x tests/ecs

# The newest Python that is here, in an environment of its own: tests of the engine that most depend on the language, and
# the demo from its sources to the warehouse. Where no newer one is here this says so and passes.
VERSIONS := 3.14 3.13 3.12
NEWEST ?= $(shell for version in $(VERSIONS); do for python in python$$version $$HOME/.pyenv/versions/$$version.*/bin/python; do \
	$$python -c pass 2> /dev/null && command -v $$python && exit; done; done)

test-newest: $(STAMP)
	@if test -z "$(NEWEST)"; then echo "NOT TESTED: no Python of $(VERSIONS) is here."; else $(MAKE) run-newest; fi

run-newest: NEW = .venv/newest/bin/python
run-newest:
	$(NEWEST) --version
	$(BIN)/uv venv --quiet --clear --python $(NEWEST) .venv/newest
	$(BIN)/uv pip sync --quiet --python $(NEW) requirements-dev.txt
	$(BIN)/uv pip install --quiet --python $(NEW) --no-deps --no-build-isolation --editable .
	$(NEW) -m pytest -q -n 2 --dist loadfile tests/millrace/declaration tests/millrace/hashes
	$(NEW) -m local run -- env PREFECT_LOGGING_LEVEL=WARNING $(NEW) -m local.demos.stori_demo | tail -n 1

# Every locked package has a wheel for Macs and Linux on ARM, for the oldest Python and the newest; of the tools for
# development, for the oldest.
wheels: $(STAMP)
	@for platform in aarch64-apple-darwin aarch64-unknown-linux-gnu; do \
		for locked in requirements.txt/3.11 requirements.txt/3.14 requirements-dev.txt/3.11; do \
			$(BIN)/uv pip compile $${locked%/*} --quiet --no-deps --only-binary :all: --output-file .venv/wheels.txt \
				--python-platform $$platform --python-version $${locked#*/} || exit 1; \
			echo "$$platform, Python $${locked#*/}: every package of $${locked%/*} has a wheel"; done; done

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

# A pooler of Postgres connections to test against. RUNLEVEL keeps Debian's package from starting a service.
pgbouncer: SUDO = $(shell test "$$(id -u)" = 0 || command -v sudo)
pgbouncer:
	@PATH="$$PATH:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin" command -v pgbouncer > /dev/null || { \
		command -v apt-get > /dev/null && $(SUDO) apt-get update -qq && \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qq --no-install-recommends pgbouncer; } || { \
		echo "Install PgBouncer."; exit 2; }

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet -c pyproject.toml -r $(PACKAGES) .ci
	$(BIN)/cfn-lint infra/stack.yaml

# The pages of docs/ as a site, in .local/site. A broken link or anchor fails it; links to other hosts are not followed.
docs: $(STAMP)
	$(BIN)/zensical build --clean --strict
	@echo .local/site/index.html

audit: $(STAMP)
	$(BIN)/python .ci/audit.py requirements.txt

# The contract of the warehouse in raw SQL, and the engine's own tests, on a cluster. Every test works in schemas with a
# random prefix and drops them; faults on demand and rights of other users are left to the stand-in.
IN_WAREHOUSE := load_modes scd2 scd2_options history logs lease rules_of_redshift refusals_of_redshift
ON_CLUSTER := $(IN_WAREHOUSE:%=tests/millrace/warehouse/test_%.py) tests/millrace/models/test_bind.py \
	tests/millrace/runs/test_sweep.py tests/millrace/sources/test_exact_values.py
CLUSTER = test -n "$(REDSHIFT_URL)" || { echo "Set REDSHIFT_URL, REDSHIFT_S3_BUCKET and REDSHIFT_IAM_ROLE."; exit 2; }

test-redshift: $(STAMP)
	@$(CLUSTER)
	$(BIN)/python -m pytest $(wildcard tests/local/redshift/test_contract_*.py) $(ON_CLUSTER)

# What a person wants to know first of a new cluster, in ten minutes.
check-redshift: $(STAMP)
	@$(CLUSTER)
	$(BIN)/python -m tests.check_redshift

# The image, by docker where its daemon answers, else podman or buildah. Its tag is the commit, with -dirty where the files
# are not the commit's. IMAGE_FLAGS go to the build. What it is is said here: podman would keep what ARG gave a LABEL before.
BUILDER ?= $(shell docker info > /dev/null 2>&1 && echo docker || basename "$$(command -v podman || command -v buildah)")
COMMIT := $(shell git describe --always --dirty --abbrev=40 --exclude '*' 2> /dev/null)
REPOSITORY ?= millrace
MILLRACE_IMAGE ?= $(REPOSITORY):$(COMMIT)
MILLRACE_VERSION ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

builder:
	@test -n "$(BUILDER)" || { echo "Install docker, podman or buildah." >&2; exit 2; }
	@echo $(BUILDER)

image: builder
	$(BUILDER) build --platform linux/amd64 --tag $(MILLRACE_IMAGE) $(IMAGE_FLAGS) \
		--label org.opencontainers.image.version=$(MILLRACE_VERSION) \
		--label org.opencontainers.image.revision=$(COMMIT) .

push:
	@case "$(MILLRACE_IMAGE)" in */*) ;; *) echo "Set REPOSITORY to the address of a repository of images."; exit 2;; esac
	@case "$(MILLRACE_IMAGE)" in *-dirty) echo "Commit first: a tag names a commit."; exit 2;; esac
	$(BUILDER) push $(MILLRACE_IMAGE)

# Builds it and looks inside, also where no registry of images can be reached: see tests/image/base.sh. Podman builds without
# starting a container, for which it would want a network of its own.
RUNNER = $(shell docker info > /dev/null 2>&1 && echo docker || echo podman $$(command -v runc > /dev/null && echo --runtime=runc))

test-image: $(STAMP) containers
	base=$$(BUILDER="$(RUNNER)" tests/image/base.sh) && $(MAKE) image COMMIT=$(COMMIT) BUILDER="$(RUNNER)" \
		IMAGE_FLAGS="--build-arg BASE=$$base $(if $(filter podman,$(RUNNER)),--isolation=chroot)"
	BUILDER="$(RUNNER)" MILLRACE_IMAGE=$(MILLRACE_IMAGE) COMMIT=$(COMMIT) $(BIN)/python -m pytest --durations 5 tests/image/checks.py
	@$(RUNNER) image inspect --format '{{.Size}}' $(MILLRACE_IMAGE) | awk '{printf "%.0f MB\n", $$1 / 1e6}'

# Docker where its daemon answers, else podman, with runc, which starts containers where crun refuses to, and mmdebstrap, for
# a base of Debian's packages.
containers:
	@docker info > /dev/null 2>&1 || { command -v podman && command -v runc && command -v mmdebstrap; } > /dev/null || \
		{ command -v apt-get > /dev/null && $(MAKE) podman; } || command -v podman > /dev/null || { \
		echo "Start docker, or install podman."; exit 2; }

podman: SUDO = $(shell test "$$(id -u)" = 0 || command -v sudo)
podman:
	$(SUDO) apt-get update -qq
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends podman runc mmdebstrap

# Of rows as they are replicated, or of versions: what models keep of them.
KIND ?= rows
HISTORIES ?= 1000
FIRST ?= 0

torture: $(STAMP) pgbouncer
	$(BIN)/python -m tests.torture --kind $(KIND) --histories $(HISTORIES) --seed $(or $(SEED),1) --first $(FIRST)

lock:
	$(BIN)/uv pip compile --universal --generate-hashes --quiet pyproject.toml --extra dev -o requirements-dev.txt -p 3.11
	$(BIN)/uv pip compile --universal --generate-hashes --quiet pyproject.toml -c requirements-dev.txt -o requirements.txt -p 3.11

clean:
	rm -rf .venv .local .cache

# uv from the lock itself, so that every version is pinned by hash; then everything else through uv, in seconds.
$(STAMP): requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv .venv
	grep -A 40 '^uv==' requirements-dev.txt | sed -n '1p;2,/^[^ ]/{/^    --hash/p}' > .venv/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements-dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@
