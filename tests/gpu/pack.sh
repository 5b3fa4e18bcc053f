#!/bin/bash
# Fills .gpu/ with what a GPU machine without network may lack, 14 MB: bash tests/gpu/pack.sh
#
# Three wheels that hold no compiled code, so that any Python takes them, and the example pair with its cameras, so that
# neither kornia nor pycolmap is needed there. torch, numpy, safetensors, pyyaml, pillow and pytest must be there.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-.venv/bin/python}
mkdir -p .gpu
for package in gsplat diffusers importlib_metadata; do
  "$python" -m pip download -q --no-deps --only-binary=:all: -c constraints.txt -d .gpu $package
done
PYTHONPATH=$PWD "$python" - <<'PY'
from pathlib import Path

import torch

from stages.prior.prepare import prepare

made = prepare((Path("examples/room_0.jpg"), Path("examples/room_1.jpg")), 256)
images, cameras = (made.views.images * 255).round().byte(), made.views.cameras
kept = {"images": images, "c2w": cameras.c2w, "K": cameras.K, "size": list(cameras.size), "near_far": made.near_far}
torch.save(kept, ".gpu/prepared.pt")
PY
du -sh .gpu
