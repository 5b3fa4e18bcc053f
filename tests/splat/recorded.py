"""A recorded scene with the answer of the float64 reference, and a program that renders it with the kernel.

The program is C++ alone, so that it also runs on an emulated processor. `python -m tests.splat.recorded` records the
scene again.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from stages.splat import build, reference
from tests.splat.scenes import random_scene

RECORD = Path(__file__).with_name("recorded.safetensors")
DRIVER = Path(__file__).with_name("driver.cpp")
DEGREE, WIDTH, HEIGHT = 1, 40, 12  # two tiles of the kernel, the second one not full
LEAVES = ("means", "quats", "scales", "opacities", "sh", "viewmats")


def truth(scene: dict[str, Tensor]) -> dict[str, Tensor]:
    """The reference's answer.

    These are the image [2, h, w, 4] (red, green, blue, and depth times alpha), alpha [2, h, w, 1], and the gradients of
    sum(image^2) / 2 + sum(alpha) by each of LEAVES.
    """
    leaves = {name: scene[name].clone().requires_grad_() for name in LEAVES}
    expected, alpha, margin = reference.rasterization(**leaves, Ks=scene["Ks"], width=WIDTH, height=HEIGHT)
    image = torch.cat(
        [expected[..., :3], expected[..., 3:] * alpha], -1
    )  # the kernel leaves the division by alpha to torch
    assert margin.min() > 1e-4, "float32 may rightly decide otherwise at a pixel so close to a threshold"
    (image.square().sum() / 2 + alpha.sum()).backward()
    gradients = {f"gradient of {name}": leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    return {"image": image.detach(), "alpha": alpha.detach(), **gradients}


def compile_driver(output: Path, command: Sequence[str]) -> None:
    """The program of driver.cpp, by a compiler with its own flags. Raises subprocess.CalledProcessError."""
    flags = [flag for flag in build.FLAGS if flag != "-shared"]
    source = [f"-I{build.SOURCE.parent}", DRIVER]
    subprocess.run([command[0], *flags, *command[1:], "-pthread", *source, "-o", output], check=True)


def run_driver(command: Sequence[str | Path], scene: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `truth` returns, from the program. Raises subprocess.CalledProcessError."""
    c, n = len(scene["viewmats"]), len(scene["means"])
    viewmats = scene["viewmats"].clone().requires_grad_()
    centres = torch.linalg.inv(viewmats)[:, :3, 3]
    sizes = torch.tensor([c, n, DEGREE, WIDTH, HEIGHT])
    given = [
        sizes,
        *(scene[name] for name in ("means", "quats", "scales")),
        scene["opacities"].expand(c, n),
        scene["sh"],
    ]
    given += [viewmats, centres, scene["Ks"]]
    sent = b"".join(tensor.detach().double().contiguous().numpy().tobytes() for tensor in given)
    done = subprocess.run(command, input=sent, stdout=subprocess.PIPE, check=True)

    shapes = [
        (c, HEIGHT, WIDTH, 4),
        (c, HEIGHT, WIDTH, 1),
        *(scene[name].shape for name in ("means", "quats", "scales")),
        (c, n),
    ]
    shapes += [scene["sh"].shape, (c, 4, 4), (c, 3)]
    received = torch.frombuffer(bytearray(done.stdout), dtype=torch.float64).split(
        [torch.Size(shape).numel() for shape in shapes]
    )
    image, alpha, *gradients = (part.reshape(shape) for part, shape in zip(received, shapes, strict=True))
    centres.backward(gradients.pop())  # the kernel's gradient by a pose leaves out the harmonics, which see its centre
    gradients[3] = gradients[3].sum(0)  # of the opacities as each camera sees them
    gradients[5] = gradients[5] + viewmats.grad
    return {
        "image": image,
        "alpha": alpha,
        **{f"gradient of {name}": value for name, value in zip(LEAVES, gradients, strict=True)},
    }


def record() -> None:
    """Write RECORD anew. The inputs are float32 numbers, so that every precision starts from the same scene."""
    random = random_scene(count=50, degree=DEGREE, cameras=2)
    scene = {name: getattr(random, name).float().double().contiguous() for name in (*LEAVES, "Ks")}
    scene["Ks"][:, 1, 2] = HEIGHT / 2
    save_file({**scene, **truth(scene)}, RECORD)


if __name__ == "__main__":
    record()
