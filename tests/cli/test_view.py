"""`reconstruct --view`: what goes to the viewer, and what happens without it."""

import math
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from stages.files.clip_folder import write_views
from stages.files.ply import write_ply
from stages.scene import Cameras, Gaussians, Views
from videoscene_cli import app
from videoscene_cli.reconstruction import viewer
from videoscene_cli.terminal.report import Report


class Server:
    """What viser's server is asked for, noted."""

    def __init__(self, **options: Any) -> None:
        self.options, self.asked, self.stopped = options, dict[str, Any](), False
        self.initial_camera = SimpleNamespace()
        self.scene = SimpleNamespace(
            set_up_direction=lambda up: None,
            add_gaussian_splats=lambda name, **parts: self.asked.update({name: parts}),
            add_camera_frustum=lambda name, **parts: self.asked.update({name: parts}),
        )

    def get_port(self) -> int:
        return 8123

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three Gaussians, and two cameras that look at them from 4 m."""
    means = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0, 0.2, 0]])
    quats = torch.tensor([[math.cos(math.pi / 4), 0, 0, math.sin(math.pi / 4)]]).expand(3, 4)  # a quarter turn around z
    scales = torch.tensor([[0.1, 0.2, 0.3]]).expand(3, 3)
    write_ply(
        tmp_path / "gaussians.ply", Gaussians(means, scales, quats, torch.full((3,), 0.5), torch.zeros(3, 1, 3)), []
    )
    c2w = torch.eye(4).repeat(2, 1, 1)
    c2w[:, 2, 3], c2w[1, 0, 3] = -4, 1
    K = torch.tensor([[20.0, 0, 16], [0, 20, 8], [0, 0, 1]]).repeat(2, 1, 1)
    write_views(tmp_path, Views(torch.rand(2, 3, 16, 32), Cameras(c2w, K, (16, 32))))
    return tmp_path


def test_the_scene_and_its_cameras_are_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    servers: list[Server] = []
    module = ModuleType("viser")
    module.ViserServer = lambda **options: servers.append(Server(**options)) or servers[-1]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "viser", module)
    viewer.view(folder, Report(), wait=lambda: None)
    (server,) = servers
    assert server.options["host"] == "127.0.0.1", "nobody else on the network sees the scene"
    assert server.stopped
    assert "http://127.0.0.1:8123" in capsys.readouterr().err
    shown = server.asked["/scene"]
    assert shown["covariances"][0] == pytest.approx(torch.diag(torch.tensor([0.04, 0.01, 0.09])).numpy(), abs=1e-6)
    assert shown["rgbs"].tolist() == [[0.5] * 3] * 3
    assert shown["opacities"].shape == (3, 1)
    assert server.asked["/cameras/1"]["position"].tolist() == [1, 0, -4]
    assert server.asked["/cameras/1"]["fov"] == pytest.approx(2 * math.atan(8 / 20))
    assert server.initial_camera.position == (0, 0, -4)
    assert server.initial_camera.up == (0, -1, 0)
    assert server.initial_camera.look_at == pytest.approx((0, 0, 0), abs=0.02)


def test_ctrl_c_closes_the_viewer_and_is_no_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, module = Server(), ModuleType("viser")
    module.ViserServer = lambda **options: server  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "viser", module)

    def interrupted() -> None:
        raise KeyboardInterrupt

    viewer.view(folder, Report(), wait=interrupted)
    assert server.stopped


def test_the_viewer_itself_takes_the_scene(folder: Path) -> None:
    viser = pytest.importorskip("viser")
    server = viser.ViserServer(host="127.0.0.1", port=0, verbose=False)
    try:
        viewer.fill(server, folder)
    finally:
        server.stop()


def test_without_the_package_it_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    assert app.run(["reconstruct", str(tmp_path), "--view"]) == 2
    assert "pip install 'videoscene-cli[view]'" in capsys.readouterr().err
