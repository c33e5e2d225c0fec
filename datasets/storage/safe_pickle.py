"""An unpickler of plain containers and NumPy arrays that runs no code from the pickle.

NumPy's own methods trust a pickle, and a damaged one can crash the process. Here everything that
NumPy writes into a pickle is restored by the methods below, which check it. A pickle is also a
program of its own: some bytes of it may ask for any amount of memory, or repeat one object until
nothing can go through it. The unpickler in Python, which this one extends, allocates only what the
file holds; what its commands may multiply is counted here.
"""

from __future__ import annotations

import functools
import io
import math
import pickle
import re
import struct
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import numpy as np

_MAX_CONTAINERS = 3_000_000  # lists, dicts and tuples, besides one for every eight bytes
_MAX_ELEMENTS = 10_000_000  # met in a walk through the content, besides one for every byte
_MAX_DEPTH = 100
_READ_AT_ONCE = 64_000_000  # bytes


class UnsafePickleError(pickle.UnpicklingError):
    """A pickle that imports what is not allowed, or asks for more than its size makes plausible."""


class ArrayUnpickler(pickle._Unpickler):
    """Accepts plain containers and NumPy arrays, and refuses everything else by name.

    Arrays may contain numbers, strings and, as objects, whatever the pickle itself may contain.
    They are of a subclass of `np.ndarray` that changes only how they are pickled.

    Args:
        file: of the pickle.
        size: its length in bytes.
        memory: bytes that arrays and texts may take together beyond its length.
    """

    def __init__(self, file: BinaryIO, size: int, memory: int) -> None:
        # From memory the many small reads take half the time.
        stream = io.BytesIO(file.read()) if size <= _READ_AT_ONCE else _Bounded(file, size)
        super().__init__(stream, encoding="latin1")
        self._length = size
        self._bytes_left = size + memory
        self._containers_left = _MAX_CONTAINERS + size // 8

    def load(self) -> Any:
        value = super().load()
        if _unfolded_count(value, {}) > _MAX_ELEMENTS + self._length:
            raise UnsafePickleError("it repeats its objects too often")
        return value

    def find_class(self, module: str, name: str) -> Any:
        # The names before and since NumPy 2. Bound methods, because a pickle can set attributes of
        # what is returned, and those of functions and classes would stay changed.
        place = module.replace("numpy._core.", "numpy.core.")
        if place in ("numpy", "numpy.core.multiarray"):
            if name == "ndarray":
                return None
            if name in ("dtype", "_reconstruct", "scalar"):
                return {
                    "dtype": self._element, "_reconstruct": self._array, "scalar": self._scalar
                }[name]  # fmt: skip
        if (place, name) == ("numpy.core.numeric", "_frombuffer"):
            return self._from_buffer
        if (module, name) == ("_codecs", "encode"):
            return self._encode
        if (module, name) == ("collections", "OrderedDict"):
            return self._ordered_dict
        # Protocols before 4 have no opcodes for these types.
        if module in ("builtins", "__builtin__") and name in ("bytes", "set", "frozenset"):
            return {"bytes": self._encode, "set": self._set, "frozenset": self._frozenset}[name]
        raise UnsafePickleError(f"it would import {module}.{name}")

    def spend(self, size: int) -> None:
        """Counts memory before it is taken."""
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise UnsafePickleError("it asks for far more memory than its size")

    def _element(self, kind: str | bytes, *_: object) -> _Element:
        return _Element(kind, self.spend)

    def _array(self, *_: object) -> _Array:
        return np.ndarray.__new__(_Array, (0,), np.int8)

    def _scalar(self, element: _Element, data: bytes | str) -> Any:
        return self._from_buffer(data, element, (1,))[0]

    def _from_buffer(
        self,
        data: bytes | bytearray | str,
        element: _Element,
        shape: tuple[int, ...],
        order: str = "C",
        axis_order: tuple[int, ...] | None = None,
    ) -> np.ndarray:
        if element.dtype.hasobject:
            raise UnsafePickleError("it contains Python objects in a buffer")
        self.spend(len(data))
        array = np.frombuffer(_bytes(data), element.dtype)
        if axis_order is not None:
            return array.reshape(shape).transpose(axis_order)
        return array.reshape(shape, order="F" if order == "F" else "C")

    def _encode(self, text: str | bytes | bytearray = "", encoding: str = "latin1") -> bytes:
        if not isinstance(text, (str, bytes, bytearray)):  # bytes(10**12) are a million million
            raise UnsafePickleError(f"it makes bytes of {type(text).__name__}")
        self.spend(len(text))
        return _bytes(text)

    def _set(self, values: list = ()) -> set:  # type: ignore[assignment]
        self._check_keys(values)
        return set(values)

    def _frozenset(self, values: list = ()) -> frozenset:  # type: ignore[assignment]
        self._check_keys(values)
        return frozenset(values)

    def _ordered_dict(self, pairs: list = ()) -> dict:  # type: ignore[assignment]
        # A plain dict, whose attributes a pickle cannot set.
        self._check_keys([key for key, _ in pairs])
        return dict(pairs)

    def _check_keys(self, keys: Iterable[Any]) -> None:
        """Refuses keys whose hash may take forever: tuples of tuples of tuples."""
        keys = list(keys)
        self.spend(100 * len(keys))
        for key in keys:
            for part in key if type(key) is tuple else (key,):
                if not isinstance(part, (str, bytes, int, float, np.generic, type(None))):
                    raise UnsafePickleError(f"it has {type(key).__name__} as a key")


def _checked(opcode: bytes, has_keys: slice | None = None) -> Callable[[Any], None]:
    """The method of an opcode that makes or fills a container, with its checks before it.

    Args:
        opcode: of one character.
        has_keys: where on the stack the keys lie, if it has any.
    """
    original = pickle._Unpickler.dispatch[opcode[0]]

    def load(self: Any) -> None:
        self._containers_left -= 1
        if self._containers_left < 0:
            raise UnsafePickleError("it asks for far more memory than its size")
        if has_keys is not None:
            self._check_keys(self.stack[has_keys])
        original(self)

    return load


def _load_bytearray8(unpickler: Any) -> None:
    (size,) = struct.unpack("<Q", unpickler.read(8))
    unpickler.append(bytearray(unpickler.read(size)))


_CONTAINERS = (
    pickle.MARK, pickle.EMPTY_LIST, pickle.EMPTY_DICT, pickle.EMPTY_SET, pickle.LIST, pickle.TUPLE,
    pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3,
)  # fmt: skip
_KEYS = {
    pickle.SETITEM: slice(-2, -1), pickle.SETITEMS: slice(None, None, 2),
    pickle.DICT: slice(None, None, 2), pickle.ADDITEMS: slice(None), pickle.FROZENSET: slice(None),
}  # fmt: skip
ArrayUnpickler.dispatch = {
    **pickle._Unpickler.dispatch,
    **{opcode[0]: _checked(opcode) for opcode in _CONTAINERS},
    **{opcode[0]: _checked(opcode, keys) for opcode, keys in _KEYS.items()},
    pickle.BYTEARRAY8[0]: _load_bytearray8,
}


def _unfolded_count(value: Any, known: dict[int, int], depth: int = 0) -> int:
    """The number of elements that a walk through the value meets, whatever is shared in it.

    Args:
        value: of the pickle.
        known: the results for containers, by id.
        depth: of the value in others.

    Raises:
        UnsafePickleError: containers are too deep in each other.
    """
    if depth > _MAX_DEPTH:
        raise UnsafePickleError("its lists or dicts are too deep in each other")
    if (count := known.get(id(value))) is not None:
        return count
    if not isinstance(value, (list, tuple, dict, np.ndarray)):
        return 1
    if isinstance(value, np.ndarray):
        members: Iterable[Any] = value.ravel().tolist() if value.dtype.hasobject else ()
        count = value.size
    else:
        members = [*value, *value.values()] if isinstance(value, dict) else value
        count = len(value)
    for each in members:
        if isinstance(each, (list, tuple, dict, np.ndarray)):
            count += _unfolded_count(each, known, depth + 1)
        elif isinstance(each, (str, bytes)):
            count += len(each) // 100
    known[id(value)] = count
    return count


class _Bounded:
    """A file of which no more is asked than it has: a read of 2**40 bytes would reserve them."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self.readline = file.readline

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, self._size))


@functools.lru_cache(64)  # a file names few types, each thousands of times
def _plain_dtype(name: str) -> np.dtype:
    if not re.fullmatch(r"[<>|=]?([?bBhHiIlLqQfdFDO]|[biufcOSU]\d{1,9})", name):
        raise UnsafePickleError(f"it contains arrays of type {name[:100]}")
    return np.dtype(name)


class _Element:
    """The type of an array's elements, from NumPy's notation in pickles."""

    __slots__ = ("dtype", "spend")

    def __init__(self, kind: str | bytes, spend: Callable[[int], None]) -> None:
        self.spend = spend
        self.dtype = _plain_dtype(kind.decode("latin1") if isinstance(kind, bytes) else str(kind))

    def __setstate__(self, state: tuple) -> None:
        order, *fields = state[1:5]
        if order not in ("<", ">", "|", "=") or any(field is not None for field in fields):
            raise UnsafePickleError("it contains structured arrays")
        self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    def __setstate__(self, state: Any) -> None:
        *_, shape, element, fortran, data = state
        count = math.prod(shape)
        element.spend(len(data) * (8 if element.dtype.hasobject else 1))
        if element.dtype.hasobject:
            is_complete = type(data) is list and len(data) == count
        else:
            data = _bytes(data)
            is_complete = len(data) == count * element.dtype.itemsize
        if self.shape != (0,) or not is_complete or min(shape, default=0) < 0:
            raise ValueError(f"an array of shape {shape} with other contents")
        checked: Any = (1, tuple(shape), element.dtype, bool(fortran), data)
        super().__setstate__(checked)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return np.asarray(self).__reduce_ex__(protocol)


def _bytes(data: bytes | bytearray | str) -> bytes:
    """Data as bytes; Python 2 and protocols before 3 store them as latin-1 text."""
    return data.encode("latin1") if isinstance(data, str) else bytes(data)
