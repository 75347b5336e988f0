"""A pretended accelerator: CPU tensors with a device label, which refuse what CUDA refuses and count what it costs.

with Accelerator() as device:
    net.to("cuda")  # as every tensor that is made on or moved to "cuda"
device.waits  # operations on such tensors that wait for the device, by their names
"""

from collections import Counter
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
READS = {"item", "tolist", "__bool__", "__int__", "__float__", "__index__", "__contains__", "cpu", "equal", "allclose"}
SIZED = {"nonzero", "argwhere", "masked_select", "unique", "repeat_interleave"}  # whose shape depends on the values
MAKES, INDEXES = {"tensor", "as_tensor", "new_tensor"}, {"__getitem__", "__setitem__"}
MOVES = {"to", "copy_", "type_as", "_load_from_state_dict", *MAKES}
FREE = {"__get__", "__set__", "size", "dim", "numel", "is_contiguous", "stride", "is_floating_point", "data_ptr"}
DEVICE, IS_CUDA = Tensor.device.__get__, Tensor.is_cuda.__get__


class Labelled(Tensor):
    """A tensor that says it is on the device; it keeps its label when it is copied, and is saved as a plain one."""

    def __deepcopy__(self, memo: dict) -> Tensor:
        if id(self) not in memo:
            copied = self.detach().clone().requires_grad_(self.requires_grad)
            copied.__dict__.update(self.__dict__)  # whether it is a parameter
            memo[id(self)] = copied
        return memo[id(self)]

    def __reduce_ex__(self, protocol):
        return placed(self, False).detach().__reduce_ex__(protocol)


def placed(x: Any, here: bool) -> Any:
    """A tensor with the label or without it; anything else as it is."""
    with torch._C.DisableTorchFunction():
        if isinstance(x, Tensor) and isinstance(x, Labelled) != here:
            return x.as_subclass(Labelled if here else Tensor)
        return x


class Accelerator(TorchFunctionMode):
    """The device while the block runs, in this thread."""

    def __init__(self) -> None:
        super().__init__()
        self.waits = Counter[str]()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, getattr(func, "__name__", str(func))
        if name in ("_parse_to", "device"):  # they know devices by name alone
            return func(*args, **kwargs)
        if name in FREE:
            if isinstance(args[0], Labelled) and func in (DEVICE, IS_CUDA):
                return CUDA if func == DEVICE else True
            with torch._C.DisableTorchFunctionSubclass():
                return placed(func(*args, **kwargs), isinstance(args[0], Labelled))
        given = tree_leaves((args, kwargs))
        tensors = [x for x in given if isinstance(x, Tensor)]
        here = any(isinstance(x, Labelled) for x in tensors)
        if name == "_has_compatible_shallow_copy_type":
            return all(isinstance(x, Labelled) == here for x in tensors)  # a module that moves gets new parameters
        wanted = [torch.device(x) for x in given if is_device(x)]
        if name in ("to", "type_as") and len(tensors) > 1:
            wanted.append(CUDA if isinstance(tensors[1], Labelled) else CPU)
        if name == "cpu":
            wanted.append(CPU)
        first = name in (*MOVES, *INDEXES) and bool(tensors)  # what it returns lies where the first tensor does
        result_here = wanted[-1].type == "cuda" if wanted else isinstance(tensors[0], Labelled) if first else here
        if here:
            refuse(name, args, tensors)
        if here or result_here:
            self.count(name, args, kwargs, tensors, here != result_here)
        if any(d.type == "cuda" for d in wanted):
            args, kwargs = tree_map(lambda x: CPU if is_device(x) else x, (args, kwargs))
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
        if name not in ("to", "cpu", "type_as") and any(result is x for x in tensors):
            return result
        mark = partial(placed, here=result_here)
        return tree_map(mark, result) if isinstance(result, tuple | list) else mark(result)

    def count(self, name: str, args: tuple, kwargs: dict, tensors: list[Tensor], moves: bool) -> None:
        """Book a wait where the CPU learns a value or a shape, or hands over memory at once."""
        foreign = not all(isinstance(x, Labelled) for x in tensors)
        values = name in MAKES and not isinstance(args[-1], Tensor)  # numbers of the CPU
        crosses = name in (*MOVES, *INDEXES) and (foreign or moves or values)
        mask = name in INDEXES and any(isinstance(x, Tensor) and x.dtype == torch.bool for x in tree_leaves(args[1]))
        if name in READS or name in SIZED or mask or (crosses and not kwargs.get("non_blocking")):
            self.waits[name] += 1


def refuse(name: str, args: tuple, tensors: list[Tensor]) -> None:
    """Refuse what CUDA refuses: arrays of its tensors, and tensors of two devices, scalars left out."""
    if name in ("numpy", "__array__"):
        raise TypeError("can't convert cuda device type tensor to numpy")
    mixed = name not in MOVES and any(not isinstance(x, Labelled) and x.dim() for x in tensors)
    if name in INDEXES:  # indices may be the CPU's; so may a value, unless it goes to places that are listed
        x, index, value = (*args, None)[:3]
        parts = [i for i in (index if isinstance(index, tuple) else (index,)) if getattr(i, "ndim", 0)]
        elsewhere = isinstance(value, Tensor) and isinstance(value, Labelled) != isinstance(x, Labelled)
        mixed = bool(parts) and elsewhere and value.numel() != 1
        mixed |= not isinstance(x, Labelled) and any(isinstance(i, Labelled) for i in parts)
    if mixed:
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, found cuda and cpu")


def is_device(x: Any) -> bool:
    """Whether a value names a device."""
    return isinstance(x, torch.device) or (isinstance(x, str) and x in ("cuda", "cpu"))
