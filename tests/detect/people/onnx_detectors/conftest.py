"""Small ONNX models with the heads of the families, for the tests of detectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

SaveModel = Callable[..., Path]


def save_constant(
    path: Path,
    outputs: Mapping[str, np.ndarray],
    shape: tuple[int | str, ...] = (1, 3, 64, 64),
    metadata: Mapping[str, str] | None = None,
    kind: int = onnx.TensorProto.FLOAT,
) -> Path:
    """A model that gives the same outputs whatever it is shown."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Cast", ["mean"], ["float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "nought"], ["zero"]),
    ]
    weights = [numpy_helper.from_array(np.zeros((), np.float32), "nought")]
    values = []
    for name, array in outputs.items():
        dtype = helper.np_dtype_to_tensor_dtype(array.dtype)
        nodes.append(helper.make_node("Cast", ["zero"], [f"{name} zero"], to=dtype))
        nodes.append(helper.make_node("Add", [f"{name} zero", f"{name} constant"], [name]))
        weights.append(numpy_helper.from_array(array, f"{name} constant"))
        values.append(helper.make_tensor_value_info(name, dtype, array.shape))
    images = helper.make_tensor_value_info("images", kind, shape)
    return save_graph(path, nodes, [images], values, weights, metadata)


def save_grids(path: Path, channels: int, size: int, *, rows_last: bool = False) -> Path:
    """A network with random weights and one output for each cell of the grids of a YOLO network.

    The first four channels are boxes in pixels, the others probabilities; (1, channels, cells), or
    (1, cells, channels) if `rows_last`.
    """
    random, nodes, weights, parts = np.random.default_rng(0), [], [], []
    for stride in (8, 16, 32):
        kernel = random.normal(size=(channels, 3, stride, stride)) / stride
        kernel /= 255 if rows_last else 1  # YOLOX takes bytes
        kernel[4:] *= 8
        weights.append(numpy_helper.from_array(kernel.astype(np.float32), f"kernel{stride}"))
        conv = helper.make_node(
            "Conv", ["images", f"kernel{stride}"], [f"map{stride}"],
            kernel_shape=[stride] * 2, strides=[stride] * 2,
        )  # fmt: skip
        reshape = helper.make_node("Reshape", [f"map{stride}", "flat"], [f"cells{stride}"])
        nodes += [conv, reshape]
        parts.append(f"cells{stride}")
    weights.append(numpy_helper.from_array(np.array([1, channels, -1]), "flat"))
    weights.append(numpy_helper.from_array(np.array([4, channels - 4]), "split"))
    weights.append(numpy_helper.from_array(np.float32(size), "side"))
    nodes += [
        helper.make_node("Concat", parts, ["cells"], axis=2),
        helper.make_node("Split", ["cells", "split"], ["boxes", "logits"], axis=1),
        helper.make_node("Sigmoid", ["boxes"], ["fractions"]),
        helper.make_node("Mul", ["fractions", "side"], ["pixels"]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("Concat", ["pixels", "scores"], ["columns"], axis=1),
        helper.make_node(
            "Transpose", ["columns"], ["output0"], perm=[0, 2, 1] if rows_last else [0, 1, 2]
        ),
    ]
    floats = onnx.TensorProto.FLOAT
    images = helper.make_tensor_value_info("images", floats, (1, 3, size, size))
    output = helper.make_tensor_value_info("output0", floats, (1, None, None))
    return save_graph(path, nodes, [images], [output], weights)


def save_graph(
    path: Path, nodes: list, inputs: list, outputs: list, weights: list,
    metadata: Mapping[str, str] | None = None,
) -> Path:  # fmt: skip
    graph = helper.make_graph(nodes, "detector", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.save(model, path)
    return path


@pytest.fixture
def save_model(tmp_path: Path) -> SaveModel:
    """Saves a model of constant outputs; see `save_constant`."""

    def save(outputs: Mapping[str, np.ndarray], *arguments: Any, **options: Any) -> Path:
        return save_constant(tmp_path / "people.onnx", outputs, *arguments, **options)

    return save


@pytest.fixture
def save_network(tmp_path: Path) -> SaveModel:
    """Saves a network with random weights; see `save_grids`."""
    return lambda *args, **options: save_grids(tmp_path / "net.onnx", *args, **options)


@pytest.fixture
def save_nodes(tmp_path: Path) -> SaveModel:
    """Saves a graph; see `save_graph`."""
    return lambda *args, **options: save_graph(tmp_path / "net.onnx", *args, **options)
