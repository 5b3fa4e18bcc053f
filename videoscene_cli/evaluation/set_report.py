"""`evaluate --real DIR --fake DIR`: the distances of two sets of clips. A measured clip is not measured again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.errors import RunError
from videoscene_cli.models.metric_networks import folder_of_networks
from videoscene_cli.models.session import Session
from videoscene_cli.results.request import Request

if TYPE_CHECKING:
    import torch

    from stages.metrics.i3d import I3D


def evaluate_sets(real: Path, fake: Path, out: Path, session: Session) -> None:
    """Measure every clip of both sets into OUT/clips, and compare the sets.

    Prints the distances and metrics.json's path.

    A clip that cannot be read is reported and left out. At the end RunError counts these clips.
    """
    from stages.evaluate.clip_sets import PROTOCOL, compare_sets, find_clips
    from stages.evaluate.frame_metrics import networks_at_hand
    from stages.files.publish import write_json
    from stages.metrics.i3d import I3D
    from stages.metrics.network_files import load

    clips = {"real": find_clips(real), "fake": find_clips(fake)}
    if session.shared.dry_run:
        plan = {**{name: f"{len(paths)} clips" for name, paths in clips.items()}, "out": str(out)}
        return session.report.plan(plan)
    network = I3D(load("i3d", folder_of_networks(), device=session.home))
    protocol = PROTOCOL | {"network": networks_at_hand(folder_of_networks())["i3d"]}
    measured: dict[str, dict[str, dict[str, Any]]] = {"real": {}, "fake": {}}
    failed: list[str] = []
    with session.report.progress("clips") as advance:
        total = len(clips["real"]) + len(clips["fake"])
        for name, clip in [("real", clip) for clip in clips["real"]] + [("fake", clip) for clip in clips["fake"]]:
            try:
                record = out / "clips" / name / f"{clip.name}.json"
                measured[name][f"{name}/{clip.name}"] = _measure(clip, record, network, session.home, protocol)
            except Exception as error:
                session.report.error(error)
                failed.append(f"{name}/{clip.name}")
            advance(len(measured["real"]) + len(measured["fake"]) + len(failed), total)
    figures = compare_sets(measured["real"], measured["fake"])
    write_json(out / "metrics.json", {"protocol": protocol, "sets": figures, "failed": failed})
    real_count, fake_count = (figures[name]["clips"] for name in ("real", "fake"))
    counts = f"{real_count} real and {fake_count} generated clips of {figures['frames']} frames"
    session.report.data(f"{counts}  fvd {figures['fvd']:.2f}  kvd {figures['kvd']:.3f}", figures)
    if failed:
        why = f"{len(failed)} failed, the messages are above: {', '.join(failed)}"
        raise RunError("not every clip was measured", why, "repair those and run the same command again")
    session.report.done(str(out / "metrics.json"), False, command="evaluate")


def _measure(clip: Path, record: Path, network: I3D, device: torch.device, protocol: dict[str, Any]) -> dict[str, Any]:
    """The figures of a clip. They are read from its record if that is of the same files."""
    from stages.evaluate.clip_sets import frames_of, measure_clip, read_frames
    from stages.files.documents import read_json
    from stages.files.publish import write_json

    request = Request("evaluate --real --fake", {"protocol": protocol}, {path.name: path for path in frames_of(clip)})
    if record.exists() and (stored := read_json(record)).get("fingerprint") == request.fingerprint:
        return dict(stored)
    figures = measure_clip(read_frames(clip).to(device), network) | {"fingerprint": request.fingerprint}
    write_json(record, figures)
    return figures
