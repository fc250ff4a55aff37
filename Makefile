# `make demo` and `make test` set up all that they need, in .venv and ~/.cache/mesh-testbed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --quiet --disable-pip-version-check

# Size of the simulated fleet of bench-xds.
PROXIES   ?= 1000
SERVICES  ?= 1000
INSTANCES ?= 10

# Tests that run at a time; 0 runs them in one process, one after another.
WORKERS   ?= 2

.PHONY: demo test tools check wheel bench-ratelimit bench-xds bench-zones lock setup clean

demo: setup
	$(BIN)/mesh demo $(if $(KEEP),--keep)

test: setup tools
	$(BIN)/pytest --numprocesses $(WORKERS)

# What the tests need beside the environment: commands, and the Debian packages that have them.
# (Consul is fetched by tests/testbed/consul.sh, hosts are made by tests/testbed/vmhost.sh.)
TOOLS := apt-get:apt dpkg-deb:dpkg systemd-analyze:systemd nft:nftables ip:iproute2 \
  mmdebstrap:mmdebstrap systemd-nspawn:systemd-container ssh:openssh-client nsenter:util-linux \
  mount:mount curl:curl

tools:
	@for tool in $(TOOLS); do \
	  command -v $${tool%%:*} >/dev/null || missing="$$missing $${tool##*:}"; \
	done; \
	[ -z "$$missing" ] || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing; } || { \
	  echo "the tests need$$missing (names of Debian packages): install them, or run as root" >&2; \
	  exit 1; }

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture mesh --min-confidence 90
	mkdir -p build/ansible_collections/mesh
	ln -sfn ../../../ansible build/ansible_collections/mesh/vms
	cd ansible && PATH=$(CURDIR)/$(BIN):$$PATH ANSIBLE_COLLECTIONS_PATH=$(CURDIR)/build ansible-lint

# The wheel, proven: installed into an empty environment, where the command must run.
wheel: setup
	rm -rf dist build/clean
	$(BIN)/python -m build --quiet --wheel --outdir dist
	$(PYTHON) -m venv build/clean
	build/clean/bin/pip --quiet --disable-pip-version-check install dist/*.whl
	build/clean/bin/mesh version
	build/clean/bin/mesh zone --embedded --check-config >/dev/null
	test -f build/clean/share/mesh/systemd/mesh.target
	build/clean/bin/python -c 'import mesh.controlplane.zone, mesh.agent.main, mesh.demo.story'

bench-ratelimit: setup
	$(BIN)/python -m tests.bench.bench_ratelimit

bench-xds: setup
	$(BIN)/python -m tests.bench.bench_xds \
	  --proxies $(PROXIES) --services $(SERVICES) --instances $(INSTANCES)

# On real Consul, which tests/testbed/consul.sh fetches once.
bench-zones: setup
	$(BIN)/python -m tests.bench.bench_zones

setup: $(VENV)/.ready

# A bare Debian has a python3 that cannot make environments; root mends that, others are told.
$(VENV)/.ready: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mesh needs Python 3.11 or newer; this is " + sys.version)'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq python3-venv; } || { \
	  echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian: apt-get install python3-venv)" >&2; exit 1; }
	@echo "Setting up $(VENV) from requirements.lock: once, about a minute …"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --editable .
	@touch $@

# Rewrites the lock from pyproject.toml; needs uv (https://pypi.org/project/uv/).
lock:
	uv pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes \
	  --no-emit-index-url --custom-compile-command 'make lock' pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
