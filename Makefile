# Every target sets up what it needs. `make` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help setup peers lint test test-slow test-install search bench-rank bench-cost bench-time bench-rule bench-train bench-dual clean

UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
ENV := .venv/.ready
PEERS := tests/peers/.venv/.ready
RUN := .venv/bin
INSTALLED := tests/install/.venv

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

.tools/bin/uv:
	python3 -m venv .tools
	.tools/bin/python -m pip install --quiet uv

$(ENV): pyproject.toml | $(filter .tools/bin/uv,$(UV))
	$(UV) sync --quiet
	@touch $@

$(PEERS): tests/peers/pyproject.toml | $(filter .tools/bin/uv,$(UV))
	cd tests/peers && $(if $(filter .tools/%,$(UV)),$(abspath $(UV)),$(UV)) sync --quiet
	@touch $@

setup: $(ENV)  ## the environment in .venv
peers: $(PEERS)  ## the environment of the tools effscope is compared with

lint: $(ENV)  ## ruff, mypy, import contracts
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports

test: $(ENV) $(PEERS)  ## all tests but the slow ones, peers included
	$(RUN)/pytest -n 2 --dist loadfile

test-slow: $(ENV) $(PEERS)  ## the tests that take minutes
	$(RUN)/pytest -n 2 -m slow

test-install: | $(filter .tools/bin/uv,$(UV))  ## the built wheel in a fresh environment without extras: every command
	rm -rf $(INSTALLED) dist
	$(UV) build --wheel --quiet
	$(UV) venv --quiet $(INSTALLED)
	$(UV) pip install --quiet --python $(INSTALLED)/bin/python dist/effscope-*.whl
	$(INSTALLED)/bin/python tests/install/walk.py

search: $(ENV)  ## the main job on builtin:shapes, into runs/shapes
	$(RUN)/effscope search --base yolov8n --out runs/shapes

bench-rank: $(ENV) $(PEERS)  ## how fast ranks are, beside an SVD loop and WeightWatcher
	cd tests/peers && $(if $(filter .tools/%,$(UV)),$(abspath $(UV)),$(UV)) sync --quiet --group weightwatcher
	mkdir -p reports/rank-speed
	$(RUN)/python experiments/rank-speed/bench.py | tee reports/rank-speed/speed.tmp
	mv reports/rank-speed/speed.tmp reports/rank-speed/speed.md

bench-cost: $(ENV) $(PEERS)  ## how fast costs are, beside Ultralytics' info() and the other counters
	mkdir -p reports/cost-speed
	$(RUN)/python experiments/cost-speed/bench.py | tee reports/cost-speed/speed.tmp
	mv reports/cost-speed/speed.tmp reports/cost-speed/speed.md

bench-time: $(ENV)  ## FLOPs and a roofline against measured time, layer by layer
	mkdir -p reports/flops-vs-time
	$(RUN)/python experiments/flops-vs-time/run.py reports/flops-vs-time | tee reports/flops-vs-time/page.tmp
	mv reports/flops-vs-time/page.tmp reports/flops-vs-time/flops-vs-time.md

bench-rule: $(ENV)  ## how often the accept rules err, in simulated searches (about 10 min)
	mkdir -p reports/rule
	OMP_NUM_THREADS=1 $(RUN)/python experiments/rule/run.py > reports/rule/rule.tmp
	mv reports/rule/rule.tmp reports/rule/rule.md

bench-train: $(ENV) $(PEERS)  ## how fast and how well training is, beside Ultralytics (about 20 min); DATA=a YOLO folder
	mkdir -p reports/train-speed
	$(RUN)/python experiments/train-speed/bench.py $(DATA) > reports/train-speed/speed.tmp
	mv reports/train-speed/speed.tmp reports/train-speed/speed.md
	$(RUN)/effscope compare 'runs/train-speed/ultralytics-seed*/weights/last.pt' 'runs/train-speed/effscope-seed*/model.safetensors' \
		--data runs/train-speed/data/data.yaml --imgsz 256 --out reports/train-speed

bench-dual: $(ENV)  ## one-to-many, one-to-one and dual heads on real images (about an hour); DATA=a data set
	mkdir -p reports/dual-assignment
	$(RUN)/python experiments/dual-assignment/run.py train $(DATA)
	$(RUN)/python experiments/dual-assignment/run.py page $(DATA) > reports/dual-assignment/page.tmp
	mv reports/dual-assignment/page.tmp reports/dual-assignment/dual-assignment.md

clean:  ## remove environments, caches and runs
	rm -rf .venv .tools tests/peers/.venv tests/install/.venv dist .mypy_cache .pytest_cache .ruff_cache .hypothesis runs
