"""The plan says how much memory the run takes, whatever the command reads, and needs no large file for it."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from stages.files import file_hashes
from stages.prior.memory import Workload, peak_memory
from tests.cli.conftest import Ended
from videoscene_cli.results import manifest

Run = Callable[..., Ended]
Photos = tuple[Path, Path]


@pytest.mark.parametrize(
    ("work", "measured"),
    [
        (Workload(2 * 345_600, 256 * 384), 0.69),
        (Workload(2 * 345_600, 256 * 384, 49), 0.68),
        (Workload(2 * 345_600, 256 * 384, 145), 0.71),
        (Workload(2 * 777_600, 256 * 384, 49, repairs=True, video=True), 1.72),
        (Workload(2 * 777_600, 256 * 384, 49, 480 * 720, repairs=True), 1.74),
        (Workload(2 * 777_600, 256 * 384, 145, 480 * 720, repairs=True, video=True), 1.90),
        (Workload(2 * 12_192_768, 256 * 341, 9, 3024 * 4032, repairs=True), 5.46),
        (Workload(2 * 12_192_768, 256 * 341, 49, 3024 * 4032, repairs=True, video=True), 6.7),
        (Workload(2 * 777_600, 256 * 384, 49, 480 * 720, repairs=True, video=True), 1.74),
        (Workload(0, 256 * 384, 49, 480 * 720, predicts=False, refines=True), 1.5),
        (Workload(2 * 12_000_000, 256 * 384), 0.81),
        (Workload(2 * 108_000_000, 256 * 384), 4.75),
    ],
)
def test_the_plan_agrees_with_peaks_that_were_measured(work: Workload, measured: float) -> None:
    """GB, of the shipped weights on a CPU, in a fresh process each."""
    assert measured / 1.3 < peak_memory(work) / 1e9 < measured * 1.3


def memory(ended: Ended) -> float:
    assert ended.code == 0, ended.err
    found = re.fullmatch(r"about ([0-9.]+) GB.*", json.loads(ended.out)["memory"])
    assert found
    return float(found[1])


def test_every_command_plans_its_memory(videoscene: Run, photos: Photos, tmp_path: Path) -> None:
    plan, scene = ("--dry-run", "--json"), tmp_path / "s"
    few, many = (videoscene("generate", *photos, "-o", scene, *plan, "--frames", count) for count in (5, 9000))
    assert memory(few) < memory(many)
    plain = videoscene("generate", *photos, "-o", scene, *plan, "--frames", 20, "--student", "none")
    assert memory(plain) < memory(many)
    assert videoscene("generate", *photos, "-o", scene, "--size", 64, "--frames", 5, "--student", "none").code == 0
    assert memory(videoscene("render", scene, "--frames", 3, "-o", tmp_path / "t", *plan)) > 0
    for out in ("t", "t.mp4"):
        assert memory(videoscene("generate", scene, "-o", tmp_path / out, *plan)) > 0
    assert memory(videoscene("reconstruct", scene, *plan)) > 0
    Image.new("RGB", (9000, 6000)).save(tmp_path / "large.png")
    assert memory(videoscene("prior", tmp_path / "large.png", photos[1], "-o", tmp_path / "t", *plan)) > 1.2


COUNTS = Path("/proc/self/io")
GIB = 1 << 30


def bytes_read() -> int:
    """The bytes that this process has read from files."""
    return int(COUNTS.read_text().split()[1])


def write_large_weights(folder: Path) -> None:
    """A student like cogvideox-5b: files of the right names with 2 GiB of zeros, which take no space on the disk."""
    for path in (folder / "model.safetensors", folder / "vae" / "diffusion_pytorch_model.safetensors"):
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {"x": {"dtype": "U8", "shape": [GIB], "data_offsets": [0, GIB]}}
        header = json.dumps(tensors).encode().ljust(64)
        with path.open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + GIB)
    torch.save(torch.zeros(1), folder / "prompt_embeds.pt")


@pytest.mark.skipif(not COUNTS.is_file(), reason="needs the counts of bytes that Linux keeps")
def test_no_large_file_is_read(
    videoscene: Run, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOSCENE_CACHE", str(tmp_path / "cache"))
    write_large_weights(tmp_path / "student")
    command = ("generate", *photos, "-o", tmp_path / "out.mp4", "--student", tmp_path / "student", "--dry-run")
    before, memory_before = bytes_read(), manifest.peak_memory()
    ended = videoscene(*command, "--json")
    assert ended.code == 0, ended.err
    assert bytes_read() - before < GIB / 4
    assert manifest.peak_memory() - memory_before < GIB / 2, "files that are mapped into memory are not counted above"
    plan = json.loads(ended.out)
    assert plan["weights"]["student/vae/diffusion_pytorch_model.safetensors"]["sha256"] == file_hashes.NOT_HASHED
    assert plan["state"] == "to be made"
    assert plan["memory"].endswith("without the student")


def test_what_is_not_hashed_is_not_called_up_to_date(
    videoscene: Run, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file counts as large here, as if the hashes that an earlier command has stored were lost."""
    monkeypatch.setenv("VIDEOSCENE_CACHE", str(tmp_path / "cache"))
    command = ("generate", *photos, "-o", tmp_path / "out.mp4", "--size", 64, "--frames", 5, "--student", "none")
    assert videoscene(*command).code == 0
    monkeypatch.setattr(file_hashes, "LARGE", 1)
    assert "up to date, unless" in videoscene(*command, "--dry-run").out
    other = videoscene(*command, "--fps", 9, "--dry-run")
    assert other.code == 2
    assert "fps was 16.0, now 9.0" in other.err
    assert "now not hashed" not in other.err
    assert "up to date" in videoscene(*command).err
    assert "state: up to date\n" in videoscene(*command, "--dry-run").out
