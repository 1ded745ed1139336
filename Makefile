# Everything runs in .venv, which is made on first use, with every version pinned by constraints.txt.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q
# In a process of its own: in one that had run for minutes with OpenVINO's threads in it, a worker was seen to crash.
ENGINES := tests/quantize/test_engines.py

.PHONY: help demo test test-deployment test-flower lint format docs bench clean

help:
	@echo "make demo    the whole story on embedded data: a teacher, samples of it, a student, a report"
	@echo "make test    the test suite"
	@echo "make test-deployment  a SuperLink with four SuperNodes on loopback, some of which fail: minutes"
	@echo "make test-flower  that, the same weights over them and in Flower's simulation as in one process: minutes more"
	@echo "make lint    ruff and mypy --strict"
	@echo "make format  format the code"
	@echo "make docs    build the guide into site/"
	@echo "make bench   measure the demo over three seeds, into bench/; SUITE=mnist: the methods on MNIST, hours (what is there is not run again)"

$(BIN)/tacit: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

# Each stamp adds the packages that its commands need.
$(VENV)/.test: $(BIN)/tacit
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[data,quantize,openvino,torchao,prune,federate,test]'
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

$(VENV)/.docs: $(BIN)/tacit
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

demo: $(BIN)/tacit
	$(BIN)/tacit demo --out demo --overwrite

# Two single-thread processes use two cores best: torch's own threads only get in each other's way on small models.
test: $(VENV)/.test
	$(PYTEST) -n 2 --dist loadfile --no-loadscope-reorder --ignore $(ENGINES)
	$(PYTEST) $(ENGINES)

test-deployment: $(VENV)/.test
	$(PYTEST) -m flower tests/federate/flower/test_deployment.py -k outlives

test-flower: $(VENV)/.test
	$(PYTEST) -m flower tests/federate

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.test
	$(BIN)/python -m benchmarks $(if $(SUITE),data_free --suite $(SUITE),demo --again --out bench)

clean:
	rm -rf $(VENV) site demo runs bench
