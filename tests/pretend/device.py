"""A CUDA device that is not there: its tensors say that they are on cuda:0, and their numbers are computed on the CPU.

What CUDA would refuse is refused here too: tensors of two devices in one operation, a generator of the CPU for noise on
CUDA, a NumPy array of a CUDA tensor. Copies between the two devices are counted with the function that asked for them.

`guard.cpp` must be loaded before torch is imported, and `install` called before anything else uses torch.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ("stages", "videoscene_cli")
CUDA = torch.device("cuda", 0)
aten = torch.ops.aten

copies: Counter[tuple[str, str]] = Counter()
"""Number of copies by direction ("to cpu" or "to cuda") and by place, file:function.

All copies to the CPU are counted, because the program waits for each, but only those of FEW numbers or more to CUDA.
"""
FEW = 257  # more than the numbers of a few cameras

# Operations that take tensors of two devices.
COPIES = {aten.copy_.default, aten._to_copy.default, aten._local_scalar_dense.default, aten.set_.source_Tensor}
INDEXING = {
    aten.index.Tensor,
    aten.index_put_.default,
    aten.index_put.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}
# Operations that take a CPU tensor without axes among CUDA tensors, besides those that are pointwise.
TAKE_A_NUMBER = {aten.where, aten.fill_, aten.masked_fill, aten.masked_fill_}
OPTIMIZERS = ("aten._foreach", "aten._fused_adam")  # their step counts stay on the CPU

torch_tensor = torch.tensor
without_float64 = False


class Refused(RuntimeError):
    """What CUDA would refuse."""


class OnCuda(Tensor):
    """A tensor of the pretended device. inner: its numbers, on the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnCuda:
        made: OnCuda = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=CUDA,
            requires_grad=False,
        )
        return made

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"OnCuda({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(operation, args, kwargs or {})

    __torch_function__ = torch._C._disabled_torch_function_impl

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        return torch_tensor(data, dtype=dtype or self.dtype).to(device or self.device)

    def tolist(self) -> Any:
        return self.inner.tolist()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise Refused("can't convert cuda:0 device type tensor to numpy")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise Refused("can't convert cuda:0 device type tensor to numpy")

    @property
    def data(self) -> Tensor:  # type: ignore[override]
        return self.detach()

    @data.setter
    def data(self, value: OnCuda) -> None:
        torch.Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.inner = value.inner


class PretendedDevice(TorchDispatchMode):
    """Within this context "cuda" is a device. float64: whether it has this type; Apple's GPUs do not."""

    def __init__(self, float64: bool = True) -> None:
        super().__init__()
        self.float64 = float64

    def __enter__(self) -> Any:
        global without_float64
        without_float64 = not self.float64
        return super().__enter__()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(operation, args, kwargs or {})


def compute(operation: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run one operation of torch on the inner tensors, or raise Refused."""
    flat, _ = tree_flatten((args, kwargs))
    on_cuda = [x for x in flat if isinstance(x, OnCuda)]
    device = kwargs.get("device")
    refuse_two_devices(operation, args, flat, on_cuda)
    if (on_cuda or is_cuda(device)) and any(isinstance(x, torch.Generator) for x in flat):
        raise Refused(f"{operation}: a generator of the CPU for noise on CUDA")
    if operation is aten._fused_sdp_choice.default and on_cuda:
        return 0
    into_cuda = goes_into_cuda(operation, args, device, bool(on_cuda))
    count_copy(operation, args, device)
    inner_kwargs = {**tree_map(inner_of, kwargs)}
    if is_cuda(device):
        inner_kwargs["device"] = torch.device("cpu")
    if inner_kwargs.get("pin_memory"):
        inner_kwargs["pin_memory"] = False
    result = operation(*tree_map(inner_of, args), **inner_kwargs)
    if not into_cuda:
        return result
    if without_float64 and any(isinstance(x, Tensor) and x.dtype == torch.float64 for x in tree_flatten(result)[0]):
        raise Refused(f"{operation}: float64")
    return changed_in_place(operation, args, kwargs, result) if operation._schema.is_mutable else tree_map(wrap, result)


def refuse_two_devices(operation: Any, args: Any, flat: list[Any], on_cuda: list[OnCuda]) -> None:
    """Raise Refused where tensors of both devices meet in an operation that takes one device."""
    on_cpu = [x for x in flat if isinstance(x, Tensor) and not isinstance(x, OnCuda) and x.device.type == "cpu"]
    if not (on_cuda and on_cpu) or operation in COPIES:
        return
    first_on_cpu = isinstance(args[0], Tensor) and not isinstance(args[0], OnCuda)
    if operation in INDEXING:
        if first_on_cpu:
            raise Refused(f"{operation}: a CPU tensor {tuple(args[0].shape)} indexed with CUDA tensors")
        if len(args) > 2 and isinstance(args[2], Tensor) and not isinstance(args[2], OnCuda) and args[2].dim():
            raise Refused(f"{operation}: CPU values {tuple(args[2].shape)} put into a CUDA tensor")
        return
    takes_numbers = torch.Tag.pointwise in operation.tags or operation.overloadpacket in TAKE_A_NUMBER
    wrong = [tuple(x.shape) for x in on_cpu if x.dim() or not takes_numbers]
    if wrong and not str(operation).startswith(OPTIMIZERS):
        raise Refused(f"{operation}: CPU {wrong} with CUDA {[tuple(x.shape) for x in on_cuda]}")
    if operation._schema.is_mutable and first_on_cpu:
        raise Refused(f"{operation}: a CPU tensor changed in place by CUDA tensors")


def goes_into_cuda(operation: Any, args: Any, device: Any, reads_cuda: bool) -> bool:
    """Whether the result of an operation is on CUDA."""
    if device is not None:
        return is_cuda(device)
    if operation is aten.copy_.default:
        return isinstance(args[0], OnCuda)
    return reads_cuda


def count_copy(operation: Any, args: Any, device: Any) -> None:
    """Count a copy between the devices."""
    if operation is aten._to_copy.default:
        source, into = args[0], isinstance(args[0], OnCuda) if device is None else is_cuda(device)
    elif operation is aten.copy_.default:
        source, into = args[1], isinstance(args[0], OnCuda)
    else:
        return
    if isinstance(source, Tensor) and isinstance(source, OnCuda) != into and (not into or source.numel() >= FEW):
        copies["to cuda" if into else "to cpu", place()] += 1


def changed_in_place(operation: Any, args: Any, kwargs: dict[str, Any], result: Any) -> Any:
    """The result of an operation that changes its arguments: the very tensors that it changed."""
    changed = {}
    for index, argument in enumerate(operation._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[index] if index < len(args) else kwargs.get(argument.name)
            changed |= dict.fromkeys(argument.alias_info.before_set, value)
    returns = operation._schema.returns
    if not returns:
        return None
    results = [
        changed[next(iter(kind.alias_info.before_set))]
        if kind.alias_info is not None and kind.alias_info.is_write
        else tree_map(wrap, value)
        for kind, value in zip(returns, [result] if len(returns) == 1 else result, strict=True)
    ]
    return results[0] if len(returns) == 1 else tuple(results)


def wrap(x: Any) -> Any:
    return OnCuda(x.detach() if x.requires_grad else x) if isinstance(x, Tensor) and not isinstance(x, OnCuda) else x


def inner_of(x: Any) -> Any:
    return x.inner if isinstance(x, OnCuda) else x


def is_cuda(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def place() -> str:
    """The innermost function of the program that is at work, as file:function.

    Functions without a name count as part of the one around them, and stages/scene.py as part of what calls it.
    """
    frame = sys._getframe(1)
    while frame is not None:
        path, function = Path(frame.f_code.co_filename), frame.f_code.co_name
        if path.is_relative_to(ROOT) and path.parts[len(ROOT.parts)] in PROGRAM and not function.startswith("<"):
            name = str(path.relative_to(ROOT))
            if name != "stages/scene.py":
                return f"{name}:{function}"
        frame = frame.f_back  # type: ignore[assignment]
    return "elsewhere"


class Uncounted(torch.autograd.Function):
    """Copies a tensor to the CPU, or from there, without counting it: for what a real device does by itself."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return inner_of(x.detach()) if isinstance(x, OnCuda) else OnCuda(x.detach())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return Uncounted.forward(ctx, gradient)


def tensor_anywhere(
    data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False
) -> Tensor:
    """torch.tensor, which otherwise makes its tensors behind the dispatcher's back."""
    made = torch_tensor(data, dtype=dtype)
    made = made if device is None else made.to(device)
    return made.requires_grad_() if requires_grad else made


def install() -> None:
    """Make torch believe in the device, from now on to the end of the process."""
    torch._C._ensureCUDADeviceGuardSet()  # type: ignore[attr-defined]
    torch._C._set_only_lift_cpu_tensors(True)
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch.tensor = tensor_anywhere  # type: ignore[assignment]
    answers: dict[str, Callable[..., Any]] = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "synchronize": lambda *_: None,
        "is_bf16_supported": lambda *_: True,
        "get_device_name": lambda *_: "pretended",
        "get_device_capability": lambda *_: (9, 0),
        "mem_get_info": lambda *_: (80 << 30, 80 << 30),
        "max_memory_allocated": lambda *_: 0,
        "set_device": lambda *_: None,
        "manual_seed_all": lambda *_: None,
        "manual_seed": lambda *_: None,
        "_is_in_bad_fork": lambda: False,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, answer)
    torch.Tensor.pin_memory = lambda self, *_: self  # type: ignore[assignment, method-assign]
