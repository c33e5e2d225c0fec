"""The constants of a frozen TensorFlow graph, read without TensorFlow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...datasets.errors import InputError

_MAX_BYTES = 16 << 20  # damaged ones may take a hundred times as much memory


def read_constants(path: Path) -> dict[str, np.ndarray]:
    """The float32 constants of a graph by the names of their nodes, as TensorFlow orders axes.

    Of a constant that the file abbreviates to one repeated value there is no array: nothing read
    here is larger than the file.

    Raises:
        InputError: the file is damaged, or too large.
        OSError: the file cannot be opened.
    """
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.compat.proto.types_pb2 import DT_FLOAT

    if path.stat().st_size > _MAX_BYTES:
        raise InputError(
            f"{path}: is larger than {_MAX_BYTES >> 20} MB; graphs of that size are refused"
        )
    graph = GraphDef()
    constants = {}
    try:
        graph.ParseFromString(path.read_bytes())
        for node in graph.node:
            if node.op != "Const" or "value" not in node.attr:
                continue
            tensor = node.attr["value"].tensor
            if tensor.dtype == DT_FLOAT and tensor.tensor_content:
                shape = [dim.size for dim in tensor.tensor_shape.dim]
                constants[node.name] = np.frombuffer(tensor.tensor_content, "<f4").reshape(shape)
    except (DecodeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot be read as a TensorFlow graph ({reason}); delete it and run the "
            "command again to download it"
        ) from error
    return constants
