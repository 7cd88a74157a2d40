# Two commands do everything from nothing: `make demo` and `make test`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PY := .venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)

FAST := not apiserver and not node and not stores

.PHONY: help setup programs check test test-apiserver test-stores test-keda test-flux test-gateway test-training test-gpu test-node test-models demo demo-down bench crds golden dashboards pictures images docs audit lock clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: ## Python environment and system packages (called by the others)
	@tools/bootstrap

programs: setup
	@cd tools && ../$(PY) -c "from seawall_cluster import binaries; binaries.ensure(['prometheus', 'promtool'])"

check: setup ## under a minute: lint, types, import contracts, unit, golden and drift tests
	ruff check . tools/cluster tools/demo tools/e2e tools/images
	ruff format --check .
	mypy
	lint-imports
	$(PY) -m pytest -q -n auto --dist loadfile -m "$(or $(TIER),$(FAST) and not long)" --ignore=tests/gpu --ignore=tests/training

test-apiserver: setup ## the tests that need a real etcd and kube-apiserver
	$(PY) -m pytest -q -n 3 --dist loadfile -m apiserver tests/apiserver tests/crd tests/gitops/test_diff.py tests/gitops/test_examples.py

test-stores: setup programs ## the tests that need a real S3 server, a real registry and a real Prometheus
	$(PY) -m pytest -q -m stores tests/stores

test-keda: setup programs ## scaling through a real KEDA; not part of `make test`: its first build takes 15 minutes
	$(PY) -m pytest -q tests/keda

test-flux: setup ## GitOps through a real Flux; not part of `make test`: its first build takes eight minutes
	$(PY) -m pytest -q -m apiserver tests/gitops

test-training: setup ## presets that train and models of other frameworks, in their own environments
	tools/convert-env > /dev/null
	"$$(tools/training-env)" -m pytest -q tests/training
	$(PY) -m pytest -q tests/training/test_tensorflow.py

test-gpu: setup ## what of the GPU and TPU targets runs without one; not part of `make test`: 7 GB of tools
	tools/venv gpu > /dev/null
	$(PY) -m pytest -q tests/gpu

test-node: setup ## the tests that need the whole local cluster
	$(PY) -m pytest -q -m node tests/images
	tools/e2e

test-gateway: setup ## p99 and rollouts through a real gateway; not part of `make test`: Go builds, then half an hour
	tools/e2e --gateway

test-models: setup ## fine-tuned and converted models in the local cluster; not part of `make test`: a 3 GB image
	tools/e2e --heavy

test: export SEAWALL_EXAMPLES := 3000
test: TIER := $(FAST)
test: programs check test-apiserver test-stores test-training test-node ## everything that CI runs

demo: setup ## from nothing to served, updated and scaled models
	tools/demo up

demo-down: ## leaves no trace of the demo
	tools/demo down

bench: setup ## figures beside their floor, in one run
	$(PY) bench/reconcile.py
	"$$(tools/training-env)" bench/compress.py
	$(PY) bench/queue_policy.py
	$(PY) bench/simulate.py
	$(PY) bench/decide.py
	$(PY) bench/judge.py --runs 1000

crds: setup ## write the CustomResourceDefinitions and what is generated from the models
	$(PY) -m seawall.api.generated .
	$(PY) tools/gitops_files.py

golden: setup ## rewrite the golden files; the review reads the difference
	$(PY) tests/golden/regenerate.py

dashboards: setup ## write Grafana's dashboards from their code
	PYTHONPATH=tools $(PY) -m dashboards write

pictures: setup programs ## draw the pictures of docs/grafana.md; about ten minutes, installs Chromium
	tools/pictures

images: setup ## build the operator and triton-cpu images
	tools/images all

docs: setup ## the documentation site in build/site; a link or an anchor that leads nowhere fails it
	NO_MKDOCS_2_WARNING=1 "$$(tools/venv docs)" -m mkdocs build --quiet

audit: setup ## known vulnerabilities of everything that is pinned; needs an advisory service
	tools/audit

lock: ## pin versions and hashes again
	tools/lock

clean: ## remove what was made inside the checkout
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
