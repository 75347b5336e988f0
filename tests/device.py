"""A pretended accelerator: CPU tensors with a device label, which refuse what CUDA refuses and count what it costs.

with Accelerator() as device:
    net.to("cuda")  # as every tensor that is made on or moved to "cuda"
device.launches, device.waits  # calls of operations on such tensors; those among them that wait for the device
"""

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
READS = {"item", "tolist", "__bool__", "__int__", "__float__", "__index__", "__contains__", "cpu", "equal", "allclose"}
SIZED = {"nonzero", "argwhere", "masked_select", "unique", "repeat_interleave"}  # whose shape depends on the values
ARRAYS = {"numpy", "__array__"}
MOVES = {"to", "copy_", "type_as", "new_tensor", "_load_from_state_dict"}
INDEXES = {"__getitem__", "__setitem__"}
FREE = {"__get__", "__set__", "size", "dim", "numel", "is_contiguous", "stride", "is_floating_point", "data_ptr"}


class Labelled(Tensor):
    """A tensor that says it is on the device; it keeps its label when it is copied, and is saved as a plain one."""

    def __deepcopy__(self, memo: dict) -> Tensor:
        if id(self) not in memo:
            copied = self.detach().clone().requires_grad_(self.requires_grad)
            copied.__dict__.update(self.__dict__)  # whether it is a parameter
            memo[id(self)] = copied
        return memo[id(self)]

    def __reduce_ex__(self, protocol):
        return plain(self).detach().__reduce_ex__(protocol)


def plain(x: Any) -> Any:
    """Without the label."""
    with torch._C.DisableTorchFunction():
        return x.as_subclass(Tensor) if isinstance(x, Labelled) else x


def labelled(x: Any) -> Any:
    """With the label."""
    with torch._C.DisableTorchFunction():
        return x.as_subclass(Labelled) if isinstance(x, Tensor) and not isinstance(x, Labelled) else x


class Accelerator(TorchFunctionMode):
    """The device while the block runs; `launches` and `waits` by name, `reset` sets both to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.launches, self.waits = Counter[str](), Counter[str]()

    def reset(self) -> None:
        """Count from here on."""
        self.launches.clear()
        self.waits.clear()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, getattr(func, "__name__", str(func))
        given = tree_leaves((args, kwargs))
        tensors = [x for x in given if isinstance(x, Tensor)]
        here = any(isinstance(x, Labelled) for x in tensors)
        if name == "_parse_to":
            return func(*args, **kwargs)
        if name == "_has_compatible_shallow_copy_type":
            return all(isinstance(x, Labelled) == here for x in tensors)  # a module that moves gets new parameters
        if func in (Tensor.device.__get__, Tensor.is_cuda.__get__) and here:
            return CUDA if func == Tensor.device.__get__ else True
        wanted = [torch.device(x) for x in given if is_device(x)]
        if name in ("to", "type_as") and len(tensors) > 1:
            wanted.append(CUDA if isinstance(tensors[1], Labelled) else CPU)
        if name == "cpu":
            wanted.append(CPU)
        result_here = wanted[-1].type == "cuda" if wanted else self.receiver(name, tensors, here)
        self.check(name, args, tensors, here)
        self.count(name, args, kwargs, tensors, here, result_here)
        if any(d.type == "cuda" for d in wanted):
            args, kwargs = tree_map(lambda x: CPU if is_device(x) else x, (args, kwargs))
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
        if name not in ("to", "cpu", "type_as") and any(result is x for x in tensors):
            return result
        return tree_map(labelled if result_here else plain, result)

    def receiver(self, name: str, tensors: list[Tensor], here: bool) -> bool:
        """Whether what an operation returns lies on the device."""
        return isinstance(tensors[0], Labelled) if name in (*MOVES, *INDEXES) else here

    def check(self, name: str, args: tuple, tensors: list[Tensor], here: bool) -> None:
        """Refuse what CUDA refuses: arrays of its tensors, and tensors of two devices, scalars left out."""
        if here and name in ARRAYS:
            raise TypeError("can't convert cuda device type tensor to numpy")
        foreign = [x for x in tensors if not isinstance(x, Labelled) and x.dim()]
        if name in INDEXES:
            foreign = [x for x in foreign if x is args[0]]  # the device takes indices and values from the CPU
        if here and foreign and name not in (*MOVES, *FREE):
            raise RuntimeError(f"{name}: expected all tensors to be on the same device, found cuda and cpu")

    def count(self, name: str, args: tuple, kwargs: dict, tensors: list[Tensor], here: bool, result_here: bool) -> None:
        """Book an operation, and a wait where the CPU learns a value or a shape, or hands over memory at once."""
        if name in FREE or not (here or result_here):
            return
        self.launches[name] += 1
        moved = (name in (*MOVES, "tensor", "as_tensor") or name in INDEXES) and not all(
            isinstance(x, Labelled) for x in tensors
        )
        crosses = moved or (name in MOVES and here != result_here) or (name == "tensor" and result_here)
        mask = name in INDEXES and any(isinstance(x, Tensor) and x.dtype == torch.bool for x in tree_leaves(args[1]))
        if name in READS or name in SIZED or mask or (crosses and not kwargs.get("non_blocking")):
            self.waits[name] += 1


def is_device(x: Any) -> bool:
    """Whether a value names a device."""
    return isinstance(x, torch.device) or (isinstance(x, str) and x in ("cuda", "cpu"))
