# Two commands are enough on a fresh machine: `make demo` and `make test`. The first makes .venv with what the library itself
# needs, the second adds what the tests need; both are quick afterwards. With uv: make demo INSTALL='uv pip install'
PYTHON ?= python3
BIN := .venv/bin
INSTALL ?= $(BIN)/python -m pip install --quiet --disable-pip-version-check
CORE := .venv/.core
READY := .venv/.ready
# one process for each of up to four cores, one thread in each: twice as quick as one process with all threads
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4

.PHONY: demo test test-slow test-gpu check format docs results bench bench-check fuzz crash requirements licences test-oldest test-newest clean

demo: $(CORE)  ## explain bundled scenes with the bundled network
	$(BIN)/bitlens demo

test: check  ## style, types, and all tests but the slow ones
	$(TESTS) --dist loadfile -m "not slow"

test-slow: $(READY)  ## the slow tests
	$(TESTS) --dist worksteal -m slow

test-gpu: $(READY)  ## what only a GPU can show: skipped, visibly, without one; minutes
	$(BIN)/python -m pytest -m gpu

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(CORE): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --constraint constraints.txt --editable .
	touch $@

$(READY): $(CORE)
	$(INSTALL) --constraint constraints.txt --editable '.[dev,text,timm,train,app,cluster,docs,signals,volumes]'
	touch $@

docs: $(READY)  ## the documentation as a site, in site/
	$(BIN)/mkdocs build --strict

results: $(READY)  ## tables of docs/results that are made of stored rows
	$(BIN)/python tools/results.py

bench: $(READY)  ## speed, as ratios measured in one run
	$(BIN)/python benchmarks/speed.py

bench-check: $(READY)  ## fails if a ratio fell by more than a tenth below those in benchmarks/ranges.json
	$(BIN)/python benchmarks/speed.py --networks resnet50 --repeats 2 --clock processor --no-floors --check

SEED ?= 0
COUNT ?= 2000
fuzz: $(READY)  ## files of every kind that is read, broken at random: make fuzz SEED=1 COUNT=500
	$(BIN)/python tools/fuzz.py --seed $(SEED) --count $(COUNT)

crash: COUNT = 100
crash: $(READY)  ## commands killed at random moments, and power cuts: make crash SEED=1 COUNT=50
	$(BIN)/python tools/crash.py --seed $(SEED) --count $(COUNT)
	$(BIN)/python tools/crash.py --seed $(SEED) --count $(COUNT) --power

test-oldest: $(READY)  ## the oldest versions that are allowed, on Python 3.10
	$(BIN)/python tools/versions.py oldest

test-newest: $(READY)  ## the newest versions there are, on the newest Python
	$(BIN)/python tools/versions.py newest

licences: $(READY)  ## of everything that is needed
	$(BIN)/python tools/licences.py

requirements: $(READY)  ## requirements.txt anew: needs uv
	sed -n '/^#/p' requirements.txt > requirements.head
	uv pip compile pyproject.toml --all-extras --constraint constraints.txt --generate-hashes --no-header --no-annotate \
	    --no-emit-index-url --python-version 3.11.7 --python-platform x86_64-manylinux_2_28 > requirements.body
	cat requirements.head requirements.body > requirements.txt
	rm requirements.head requirements.body

clean:
	rm -rf .venv bitlens-demo .mypy_cache .ruff_cache .pytest_cache
