"""An unpickler of plain containers and NumPy arrays that runs no code from the pickle.

NumPy's own methods trust a pickle, and a damaged one can crash the process. Here everything that
NumPy writes into a pickle is restored by the methods below, which check it.
"""

from __future__ import annotations

import builtins
import math
import pickle
import re
from collections import OrderedDict
from typing import Any

import numpy as np


class UnsafePickleError(pickle.UnpicklingError):
    """A pickle that refers to classes or functions that are not allowed."""


class ArrayUnpickler(pickle.Unpickler):
    """Accepts plain containers and NumPy arrays, and refuses everything else by name.

    Arrays may contain numbers, strings and, as objects, whatever the pickle itself may contain.
    They are of a subclass of `np.ndarray` that changes only how they are pickled.
    """

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
            return OrderedDict
        # Protocols before 4 have no opcodes for these types.
        if module in ("builtins", "__builtin__") and name in ("bytes", "set", "frozenset"):
            return getattr(builtins, name)
        raise UnsafePickleError(f"it would import {module}.{name}")

    def _element(self, kind: str | bytes, *_: object) -> _Element:
        return _Element(kind)

    def _array(self, *_: object) -> _Array:
        return np.ndarray.__new__(_Array, (0,), np.int8)

    def _scalar(self, element: _Element, data: bytes | str) -> Any:
        return self._from_buffer(_bytes(data), element, (1,))[0]

    def _from_buffer(
        self,
        data: bytes | bytearray,
        element: _Element,
        shape: tuple[int, ...],
        order: str = "C",
        axis_order: tuple[int, ...] | None = None,
    ) -> np.ndarray:
        if element.dtype.hasobject:
            raise UnsafePickleError("it contains Python objects in a buffer")
        array = np.frombuffer(_bytes(data), element.dtype)
        if axis_order is not None:
            return array.reshape(shape).transpose(axis_order)
        return array.reshape(shape, order="F" if order == "F" else "C")

    def _encode(self, text: str, encoding: str = "latin1") -> bytes:
        return _bytes(text)


class _Element:
    """The type of an array's elements, from NumPy's notation in pickles."""

    __slots__ = ("dtype",)

    def __init__(self, kind: str | bytes) -> None:
        name = kind.decode("latin1") if isinstance(kind, bytes) else str(kind)
        if not re.fullmatch(r"[<>|=]?([?bBhHiIlLqQfdFDO]|[biufcOSU]\d{1,9})", name):
            raise UnsafePickleError(f"it contains arrays of type {name}")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple) -> None:
        order, *fields = state[1:5]
        if order not in ("<", ">", "|", "=") or any(field is not None for field in fields):
            raise UnsafePickleError("it contains structured arrays")
        self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    def __setstate__(self, state: Any) -> None:
        *_, shape, element, fortran, data = state
        count = math.prod(shape)
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
