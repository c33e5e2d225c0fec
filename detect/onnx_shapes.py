"""The input shape that an ONNX file declares, read from its bytes.

OpenCV runs ONNX models, but only some of its versions tell the shape, each in another way. The
fields are those of github.com/onnx/onnx, onnx/onnx.proto; the encoding is Protocol Buffers'.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..datasets.files import InputError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def input_shape(path: Path) -> tuple[int | None, ...]:
    """The shape of the model's first input that is no weight; None where a side is free.

    Raises:
        InputError: the file is missing, cut short, or no ONNX model.
    """
    if not path.is_file():
        raise InputError(f"{path}: file not found")
    try:
        shape = _model_input_shape(memoryview(path.read_bytes()))
    except (ValueError, IndexError) as error:
        raise InputError(
            f"{path}: damaged, or not an ONNX model; download or export it again"
        ) from error
    if shape is None:
        raise InputError(f"{path}: this ONNX model has no input")
    return shape


def _model_input_shape(data: memoryview) -> tuple[int | None, ...] | None:
    graphs = submessages(data, 7)  # ModelProto.graph
    if not graphs:
        raise ValueError("no graph")
    weights = {_name(tensor, 8) for tensor in submessages(graphs[0], 5)}  # initializer
    for value in submessages(graphs[0], 11):  # GraphProto.input
        if _name(value, 1) in weights:
            continue
        for field in (2, 1, 2):  # ValueInfoProto.type, TypeProto.tensor_type, .shape
            found = submessages(value, field)
            if not found:
                return ()
            value = found[0]
        return tuple(_side(dimension) for dimension in submessages(value, 1))
    return None


def _side(dimension: memoryview) -> int | None:
    sizes = [value for field, value in fields(dimension) if field == 1 and isinstance(value, int)]
    return sizes[0] if sizes and sizes[0] > 0 else None


def _name(message: memoryview, field: int) -> bytes:
    return b"".join(bytes(part) for part in submessages(message, field))


def submessages(message: memoryview, field: int) -> list[memoryview]:
    return [
        value
        for number, value in fields(message)
        if number == field and isinstance(value, memoryview)
    ]


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The (field number, value) pairs of a message; ValueError where it breaks off."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        field, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield field, value
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if field == 0 or at + length > len(message):
            raise ValueError("a field runs past its message")
        yield field, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a varint of more than ten bytes")
