# Two commands on a fresh machine: `make run` and `make test`. Each does all of its own set-up.
# Everything that is installed comes from a lock file with hashes; nothing here names a package index.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Root's sessions are handed to an unprivileged account, which cannot enter root's home folder: there the
# interpreter must be the system's own, and the notebook environments live where every account can read them.
ROOT := $(shell [ "$$(id -u)" = 0 ] && echo yes)
DEBIAN := $(shell [ -f /etc/debian_version ] && echo yes)
PYTHON ?= $(shell scripts/find-python $(ROOT))

VENV := .venv
BIN := $(VENV)/bin
STAMPS := $(VENV)/stamps
NBFED_HOME ?= $(CURDIR)/run
ENVIRONMENTS := python minimal
IMAGES := hub gateway singleuser-minimal singleuser-python singleuser-scientific
# Named by what is in them: the locked packages, and our part of JupyterLab.
LAB := spawners/lab/wheel.py spawners/lab/nbfed_lab/__init__.py spawners/lab/nbfed_lab/extension.js
ENVIRONMENT_KEY := $(shell cat $(patsubst %,images/environments/%/requirements.lock,$(sort $(ENVIRONMENTS))) $(LAB) | sha256sum | cut -c1-12)
NBFED_ENVIRONMENTS ?= $(if $(ROOT),/var/lib/notebooks-federation,$(CURDIR)/.environments)/$(ENVIRONMENT_KEY)
export NBFED_HOME NBFED_ENVIRONMENTS

UV_INSTALL := $(BIN)/uv pip install --quiet --require-hashes --python
PYTEST := $(BIN)/python -m pytest
# Many tests wait for processes that they started, so a few of these keep two cores busy.
PROCESSES ?= 3

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

.PHONY: run
run: setup $(if $(HPC),$(STAMPS)/slurm) ## the whole service on this machine; HPC=1: with two HPC sites (Debian, as root)
	@exec $(BIN)/nbfed $(if $(HPC),demo-hpc,up)

.PHONY: setup
setup: $(STAMPS)/hub $(STAMPS)/proxy $(foreach e,$(ENVIRONMENTS),$(NBFED_ENVIRONMENTS)/$(e)/.complete)

.PHONY: setup-test
setup-test: setup $(STAMPS)/dev $(STAMPS)/browser $(STAMPS)/postgresql $(STAMPS)/keycloak $(STAMPS)/slurm $(STAMPS)/nginx

# Who names a cluster needs none of our own.
.PHONY: setup-kubernetes
setup-kubernetes: $(STAMPS)/helm $(if $(KUBECONFIG),,$(STAMPS)/kubernetes)
ifndef KUBECONFIG
	@$(BIN)/python -m tests.kubernetes.images hub singleuser-minimal
endif

.PHONY: test
test: setup-test lint ## everything that is checked on each change (a real hub and a real browser included)
	$(PYTEST) -m "not long and not kubernetes" -n $(PROCESSES) --cov --cov-report=term:skip-covered $(ARGS)

.PHONY: test-long
test-long: setup-test setup-kubernetes ## thousands of random steps, many repetitions: before an issue is closed
	$(PYTEST) -m long $(ARGS)

.PHONY: test-kubernetes
test-kubernetes: setup-test setup-kubernetes ## our chart, and sessions as pods of a real cluster; KUBECONFIG names one that is there
	$(PYTEST) -m "kubernetes and not long" $(ARGS)

.PHONY: cluster
cluster: $(STAMPS)/kubernetes ## a Kubernetes of one node on this machine, until Ctrl-C
	@exec $(BIN)/python -m tests.kubernetes.cluster

.PHONY: images
images: ## hub, gateway and the notebook environments as container images, with buildah or docker
	@for image in $(IMAGES); do echo "Building $$image"; scripts/build-image $$image; done

.PHONY: pictures
pictures: setup-test ## take the pictures in docs/tutorials anew, by the browser tests of the access desk
	NBFED_PICTURES=docs/tutorials/pictures $(PYTEST) tests/browser/test_desk.py -k "reviewers or site_operator" $(ARGS)

.PHONY: bench
bench: setup-test ## measure; nothing is asserted
	$(BIN)/python -m tests.bench $(ARGS)

.PHONY: lint
lint: setup-test ## style, types, who may import whom, generated pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.generated --check

.PHONY: generated
generated: setup-test ## write the pages and schema that are generated from the code, and the translation template
	$(BIN)/python -m tests.generated

.PHONY: locks
locks: $(STAMPS)/python ## compute the lock files anew
	scripts/lock

.PHONY: clean
clean: ## remove what the set-up made (never the state folder)
	rm -rf $(VENV) .environments .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache screenshots

# --- set-up, each step once ---------------------------------------------------------------------------------

$(STAMPS)/python: requirements/bootstrap.lock
ifeq ($(ROOT)$(DEBIAN),yesyes)
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || scripts/debian-packages python3-venv
endif
	@echo "Setting up a virtual environment with $(PYTHON)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/hub: requirements/hub.lock pyproject.toml $(STAMPS)/python
	@echo "Installing the hub from its lock file"
	@$(UV_INSTALL) $(BIN)/python -r requirements/hub.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMPS)/dev: requirements/dev.lock $(STAMPS)/hub
	@echo "Installing what the tests need"
	@$(UV_INSTALL) $(BIN)/python -r requirements/dev.lock
	@touch $@

$(STAMPS)/proxy: hub_config/proxy/package-lock.json $(STAMPS)/hub
	@echo "Installing the proxy"
	@$(BIN)/python -m hub_config.proxy_install
	@touch $@

$(STAMPS)/browser: $(STAMPS)/python
ifeq ($(ROOT)$(DEBIAN),yesyes)
	@command -v chromium >/dev/null || scripts/debian-packages chromium fonts-dejavu-core
endif
	@touch $@

$(STAMPS)/postgresql: $(STAMPS)/python
ifeq ($(ROOT)$(DEBIAN),yesyes)
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || scripts/debian-postgresql
endif
	@touch $@

# Batch sites of one node, for tests and for `make run HPC=1`: as root only, because Slurm becomes the owners of jobs.
$(STAMPS)/slurm: $(STAMPS)/python
ifeq ($(ROOT)$(DEBIAN),yesyes)
	@command -v slurmctld slurmdbd mariadbd sshd sudo >/dev/null && [ -e /usr/lib/$$(uname -m)-linux-gnu/faketime ] || \
	  scripts/debian-packages slurm-wlm slurmdbd slurm-wlm-mysql-plugin mariadb-server-core munge openssh-server sudo libfaketime
endif
	@touch $@

# What stands in front of the hub in production.
$(STAMPS)/nginx: $(STAMPS)/python
ifeq ($(ROOT)$(DEBIAN),yesyes)
	@command -v nginx >/dev/null || scripts/debian-packages nginx-light
endif
	@touch $@

# Without it, the tests of a real provider are skipped, except in CI.
$(STAMPS)/keycloak: tests/support/keycloak.py $(STAMPS)/dev
ifeq ($(ROOT)$(DEBIAN),yesyes)
	@command -v java >/dev/null || scripts/debian-packages default-jre-headless
	@command -v mvn >/dev/null || scripts/debian-packages maven
endif
	@echo "Preparing Keycloak for the tests"
	@$(BIN)/python -m tests.support.keycloak && touch $@ || [ "$(CI)" != true ]

# Without it, our chart is not rendered, except in CI.
$(STAMPS)/helm: $(wildcard tests/helm_values/helm/go.*) tests/support/helm.py $(STAMPS)/dev
	@$(BIN)/python -m tests.support.helm && touch $@ || [ "$(CI)" != true ]

CLUSTER := tests/kubernetes/cluster/kubernetes
$(STAMPS)/kubernetes: $(wildcard $(CLUSTER)/go.* $(CLUSTER)/*.go $(CLUSTER)/*/*.go) $(STAMPS)/dev
ifeq ($(ROOT)$(DEBIAN),yesyes)
	@for p in etcd containerd runc buildah mmdebstrap ip; do command -v $$p >/dev/null || missing=yes; done; \
	  [ -z "$${missing:-}" ] || scripts/debian-packages etcd-server containerd runc containernetworking-plugins buildah \
	    mmdebstrap iproute2
endif
	@$(BIN)/python -m tests.kubernetes.cluster.programs
	@touch $@

# Its folder is named by what is in it, so once complete it is right. Times of files say nothing: another clone may have
# made it, and sessions may be using it.
$(NBFED_ENVIRONMENTS)/%/.complete: | images/environments/%/requirements.lock $(LAB) $(STAMPS)/python
	@echo "Installing the notebook environment '$*'"
	@$(BIN)/uv venv --quiet --clear --python $(PYTHON) $(NBFED_ENVIRONMENTS)/$*
	@$(UV_INSTALL) $(NBFED_ENVIRONMENTS)/$* --compile-bytecode -r images/environments/$*/requirements.lock
	@wheel="$$($(BIN)/python -m spawners.lab.wheel $(VENV)/wheels)" && \
	  $(BIN)/uv pip install --quiet --no-deps --compile-bytecode --python $(NBFED_ENVIRONMENTS)/$* "$$wheel"
	@touch $@
