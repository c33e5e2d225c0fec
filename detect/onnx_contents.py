"""What an ONNX file holds beside its graph, read from its bytes before anything runs it.

The fields are those of github.com/onnx/onnx, onnx/onnx.proto.
"""

from __future__ import annotations

from pathlib import Path

from ..datasets.files import InputError
from .onnx_shapes import fields, submessages

# Messages below a message that may hold tensors, by field, and which of them are tensors.
_BELOW = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_DATA_LOCATION, _EXTERNAL_DATA = 14, 13  # TensorProto
_DEEPEST = 50  # graphs within attributes of nodes of graphs; ours have none


def read_metadata(path: Path) -> dict[str, str]:
    """The model's metadata properties; a file whose weights lie in other files is refused.

    Weights outside could name any file of this machine.

    Raises:
        InputError: no such file, damaged, no ONNX model, or one with external data.
    """
    if not path.is_file():
        raise InputError(f"{path}: file not found")
    try:
        model = memoryview(path.read_bytes())
        if not submessages(model, 7):
            raise ValueError("no graph")
        external = _has_external_data(model, "model", _DEEPEST)
        pairs = [
            [b"".join(bytes(part) for part in submessages(entry, field)) for field in (1, 2)]
            for entry in submessages(model, 14)
        ]
        metadata = {key.decode(): value.decode() for key, value in pairs}
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: damaged, or not an ONNX model; export it again") from error
    if external:
        raise InputError(
            f"{path}: its weights are in other files, which are never opened for safety; export "
            "the model as a single file"
        )
    return metadata


def _has_external_data(message: memoryview, kind: str, depth: int) -> bool:
    if depth == 0:
        raise ValueError("nested too deeply")
    below = _BELOW[kind]
    for field, value in fields(message):
        if kind == "tensor":
            if field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value == 1):
                return True
        elif field in below and isinstance(value, memoryview):  # noqa: SIM102
            if _has_external_data(value, below[field], depth - 1):
                return True
    return False
