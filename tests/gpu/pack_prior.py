"""Collects all that tests/gpu/train_prior.py needs in .gpu/prior, at most 40 MiB, to be sent to a machine with a GPU.

    python -m tests.gpu.pack_prior --furniture PACK.npz --textures FOLDER --start prior.safetensors [--start MORE]

code.tar.xz       stages without weights, and tests/gpu/train_prior.py
furniture.npz     a furniture pack; textures.tar.xz: images of surfaces, with their MANIFEST.tsv
start.safetensors the weights to start from, as float16
site.tar.xz       what that machine's Python may lack: Embree and gsplat, for the Python version of --python
"""

import argparse
import lzma
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".gpu" / "prior"
MOST = 40 * 2**20  # bytes that can be sent
CODE = (
    *("stages/**/*.py", "stages/**/*.yaml", "stages/splat/*.cpp", "stages/splat/*.h"),
    *("tests/gpu/train_prior.py", "tests/gpu/weight_parts.py"),
)
WHEELS = ("embreex", "gsplat")  # torch, numpy, safetensors, pyyaml and pillow must be there
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
KERNELS = ROOT / ".gpu" / "csrc.so.xz"  # gsplat's, compiled for that machine (see check.sh); taken along if it is there


def pack(folder: Path, furniture: Path, textures: Path, start: list[Path], python: str | None) -> int:
    """Fill `folder`. python: version of the other machine's Python; None leaves out the wheels. Returns the bytes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    code = sorted({path for pattern in CODE for path in ROOT.glob(pattern)})
    _tar(folder / "code.tar.xz", {str(path.relative_to(ROOT)): path for path in code})
    shutil.copy(furniture, folder / "furniture.npz")
    _tar(folder / "textures.tar.xz", {path.name: path for path in sorted(textures.iterdir()) if path.is_file()})
    weights = {name: value for path in start for name, value in load_file(path).items()}
    save_file({name: value.half().contiguous() for name, value in weights.items()}, folder / "start.safetensors")
    if python is not None:
        _pack_site(folder / "site.tar.xz", python)
    return sum(path.stat().st_size for path in folder.iterdir())


def _pack_site(path: Path, python: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        wheels, site = Path(name) / "wheels", Path(name) / "site"
        kind = ["--only-binary=:all:", "--python-version", python]
        kind += [word for platform in PLATFORMS for word in ("--platform", platform)]
        packages = ["-c", str(ROOT / "constraints.txt"), *WHEELS]
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *kind, "-d", str(wheels), *packages]
        subprocess.run(command, check=True)
        for wheel in sorted(wheels.glob("*.whl")):
            zipfile.ZipFile(wheel).extractall(site)
        if KERNELS.is_file():
            (site / "gsplat" / "csrc.so").write_bytes(lzma.decompress(KERNELS.read_bytes()))
        _tar(path, {str(file.relative_to(site)): file for file in sorted(site.rglob("*")) if file.is_file()})


def _tar(path: Path, members: dict[str, Path]) -> None:
    with tarfile.open(path, "w:xz") as tar:
        for name, file in members.items():
            tar.add(file, name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--furniture", type=Path, required=True)
    parser.add_argument("--textures", type=Path, required=True)
    parser.add_argument("--start", type=Path, action="append", required=True)
    parser.add_argument("--python", default="3.12")
    asked = parser.parse_args()
    size = pack(FOLDER, asked.furniture, asked.textures, asked.start, asked.python)
    print(f"{FOLDER}: {size / 2**20:.1f} MiB of {MOST >> 20}")
    return 1 if size > MOST else 0


if __name__ == "__main__":
    sys.exit(main())
