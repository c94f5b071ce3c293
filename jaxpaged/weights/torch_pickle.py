"""The index of a torch file (data.pkl): which tensors it holds and where. Read without pickle: nothing in it can run.

A small machine for the few instructions that a dictionary of tensors needs; everything else is refused by name.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

MAX_BYTES = 8 << 20  # a model with 10,000 tensors has 2 MB
MAX_STEPS, MAX_AXES = 1_000_000, 8  # a tensor takes 40 steps
DTYPES: Mapping[str, np.dtype] = MappingProxyType(
    {
        "torch.FloatStorage": np.dtype(np.float32),
        "torch.HalfStorage": np.dtype(np.float16),
        "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
        "torch.DoubleStorage": np.dtype(np.float64),
        "torch.LongStorage": np.dtype(np.int64),
        "torch.IntStorage": np.dtype(np.int32),
        "torch.ShortStorage": np.dtype(np.int16),
        "torch.CharStorage": np.dtype(np.int8),
        "torch.ByteStorage": np.dtype(np.uint8),
        "torch.BoolStorage": np.dtype(np.bool_),
    }
)


class IndexFault(ValueError):
    """Why an index is refused."""


class Storage(NamedTuple):
    """So many elements, in the record named `key`."""

    key: str
    dtype: np.dtype
    elements: int


class View(NamedTuple):
    """A tensor: part of a storage. `offset` and `strides` are in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Name(NamedTuple):
    """What the file asks for by module and name."""

    text: str


def read_index(data: bytes) -> dict[str, View]:
    """The tensors by name. Raises IndexFault."""
    if len(data) > MAX_BYTES:
        raise IndexFault(f"its index has {len(data)} bytes; at most {MAX_BYTES} are read")
    found = _found(data)
    if not isinstance(found, dict):
        raise IndexFault(f"it holds a {type(found).__name__}, not a dictionary of tensors")
    for name, value in found.items():
        if not isinstance(value, View):
            raise IndexFault(f"{name[:80]!r} in it is no tensor, so it is no state dict of a model")
    return found


def read_tensor_index(data: bytes) -> dict[str, View]:
    """The tensor of a file that holds one, under no name. Raises IndexFault."""
    found = _found(data)
    if not isinstance(found, View):
        raise IndexFault(f"it holds a {type(found).__name__}, not a tensor")
    return {"": found}


def _found(data: bytes) -> Any:
    try:
        return _run(data)
    except IndexFault:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise IndexFault("its index is broken") from error


def _run(data: bytes) -> Any:
    machine = _Machine([], [], {})
    for step, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if step > MAX_STEPS:
            raise IndexFault(f"its index has more than {MAX_STEPS} steps")
        if opcode.name == "STOP":
            (result,) = machine.stack
            return result
        machine.do(opcode.name, argument)
    raise IndexFault("its index has no end")


@dataclass(slots=True)
class _Machine:
    stack: list[Any]
    marks: list[int]
    memo: dict[int, Any]

    def do(self, name: str, argument: Any) -> None:
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _VALUES:
            self.stack.append(argument)
        elif name in _OF_MARK:
            _OF_MARK[name](self.stack, self._since_mark())
        elif name in _OF_TOP:
            _OF_TOP[name](self.stack)
        elif name == "GLOBAL":
            self.stack.append(_name(*argument.split(" ")))
        else:
            self._remember(name, argument)

    def _remember(self, name: str, argument: Any) -> None:
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.marks.append(len(self.stack))
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self.memo[argument])
            case _:
                raise IndexFault(f"its index has the instruction {name}, which a dictionary of tensors does not need")

    def _since_mark(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values


def _tuple(count: int) -> Callable[[list[Any]], None]:
    def make(stack: list[Any]) -> None:
        if len(stack) < count:
            raise IndexFault("its index is broken")
        values = tuple(stack[len(stack) - count :])
        del stack[len(stack) - count :]
        stack.append(values)

    return make


def _set_items(stack: list[Any], values: list[Any]) -> None:
    target = stack[-1]
    if not isinstance(target, dict):
        raise IndexFault("its index is broken")
    for key, value in zip(values[::2], values[1::2], strict=True):
        if not isinstance(key, str):
            raise IndexFault("a name in it is no text")
        target[key] = value


def _set_item(stack: list[Any]) -> None:
    key, value = stack[-2:]
    del stack[-2:]
    _set_items(stack, [key, value])


def _append(stack: list[Any], values: list[Any]) -> None:
    stack[-1].extend(values)


def _name(module: str, name: str) -> Name:
    text = f"{module}.{name}"
    if text not in DTYPES and text not in _CALLS:
        raise IndexFault(f"it asks for {text[:80]}, which a dictionary of tensors does not need; nothing of it was run")
    return Name(text)


def _named(stack: list[Any]) -> None:
    module, name = stack[-2:]
    del stack[-2:]
    stack.append(_name(module, name))


def _call(stack: list[Any]) -> None:
    arguments, called = stack.pop(), stack.pop()
    stack.append(_CALLS[called.text](*arguments))


def _storage(stack: list[Any]) -> None:
    kind, dtype, key, _, count = stack.pop()
    if kind != "storage" or not isinstance(key, str) or not _natural(count):
        raise IndexFault("its index is broken")
    stack.append(Storage(key, DTYPES[dtype.text], count))


def _view(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> View:
    sizes = [offset, *shape, *strides]
    if not isinstance(storage, Storage) or not len(shape) == len(strides) <= MAX_AXES or not all(map(_natural, sizes)):
        raise IndexFault("a tensor in it has a broken shape")
    view = View(storage, offset, tuple(shape), tuple(strides))
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= storage.elements:
        raise IndexFault("a tensor in it reaches beyond its storage")
    return view


def _empty_dict(*arguments: Any) -> dict[str, Any]:
    if arguments:
        raise IndexFault("its index is broken")
    return {}


def _natural(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 48


_CALLS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "collections.OrderedDict": _empty_dict,
        "torch._utils._rebuild_tensor": _view,
        "torch._utils._rebuild_tensor_v2": _view,
        "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    }
)
_CONSTANTS: Mapping[str, Callable[[], Any]] = MappingProxyType(
    {
        "EMPTY_DICT": dict,
        "EMPTY_LIST": list,
        "EMPTY_TUPLE": tuple,
        "NONE": lambda: None,
        "NEWTRUE": lambda: True,
        "NEWFALSE": lambda: False,
    }
)
_VALUES = frozenset("BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8".split())
_OF_MARK: Mapping[str, Callable[[list[Any], list[Any]], None]] = MappingProxyType(
    {
        "TUPLE": lambda stack, values: stack.append(tuple(values)),
        "SETITEMS": _set_items,
        "APPENDS": _append,
    }
)
_OF_TOP: Mapping[str, Callable[[list[Any]], None]] = MappingProxyType(
    {
        "TUPLE1": _tuple(1),
        "TUPLE2": _tuple(2),
        "TUPLE3": _tuple(3),
        "SETITEM": _set_item,
        "APPEND": lambda stack: _append(stack, [stack.pop()]),
        "STACK_GLOBAL": _named,
        "REDUCE": _call,
        "BUILD": lambda stack: stack.pop(),  # versions of modules, beside the tensors
        "BINPERSID": _storage,
    }
)
