"""ONNX files from elsewhere: what is refused before onnxruntime sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from actiontubes.datasets.files import InputError
from actiontubes.detect.onnx_contents import read_metadata
from actiontubes.detect.onnx_detector import load_onnx_detector

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def outside(name: str = "w") -> TensorProto:
    """A tensor whose numbers are those of another file."""
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/hostname"
    return tensor


def model(*nodes: onnx.NodeProto, weights: tuple = (), functions: tuple = ()) -> onnx.ModelProto:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    graph = helper.make_graph(
        list(nodes) or [helper.make_node("Relu", ["x"], ["y"])], "g", [value], [out], list(weights)
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    made = helper.make_model(graph, opset_imports=opsets, functions=list(functions))
    helper.set_model_props(made, {"colour": "blue", "line": "a\nb"})
    return made


def saved(made: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(made.SerializeToString())
    return path


def test_metadata(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.zeros((3, 4), np.float32), "w")
    path = saved(model(weights=(weight,)), tmp_path / "m.onnx")
    assert read_metadata(path) == {"colour": "blue", "line": "a\nb"}
    with pytest.raises(InputError, match="was not written by `actiontubes export`"):
        load_onnx_detector(path)


def branch(name: str) -> onnx.GraphProto:
    out = helper.make_tensor_value_info(name, TensorProto.FLOAT, [4])
    constant = helper.make_node("Constant", [], [name], value=outside())
    return helper.make_graph([constant], name, [], [out])


def hidden() -> dict[str, onnx.ModelProto]:
    """Every place in which a model can name another file."""
    constant = helper.make_node("Constant", [], ["y"], value=outside())
    plain = numpy_helper.from_array(np.zeros(2, np.int64), "i")
    sparse = onnx.SparseTensorProto(values=outside(), indices=plain, dims=[9])
    relu = helper.make_node("Relu", ["x"], ["y"])
    function = helper.make_function(
        "own", "f", ["x"], ["y"], [constant], [helper.make_opsetid("", 18)]
    )
    default = helper.make_function(
        "own", "f", ["x"], ["y"], [relu], [helper.make_opsetid("", 18)],
        attribute_protos=[helper.make_attribute("t", outside())],
    )  # fmt: skip
    in_sparse = model(relu)
    in_sparse.graph.sparse_initializer.append(sparse)
    training = model(relu)
    training.training_info.add().algorithm.initializer.append(outside())
    # The field alone, without the location, and the other way round.
    unplaced = outside()
    unplaced.ClearField("data_location")
    bare = outside()
    bare.ClearField("external_data")
    return {
        "initializer": model(relu, weights=(outside(),)),
        "constant": model(constant),
        "list of tensors": model(helper.make_node("Own", [], ["y"], domain="own", t=[outside()])),
        "branch": model(
            helper.make_node("If", ["x"], ["y"], then_branch=branch("a"), else_branch=branch("b"))
        ),
        "list of graphs": model(helper.make_node("Own", [], ["y"], domain="own", g=[branch("a")])),
        "sparse initializer": in_sparse,
        "sparse attribute": model(helper.make_node("Constant", [], ["y"], sparse_value=sparse)),
        "function": model(relu, functions=(function,)),
        "default of a function": model(relu, functions=(default,)),
        "training": training,
        "unplaced": model(relu, weights=(unplaced,)),
        "bare": model(relu, weights=(bare,)),
    }


@pytest.mark.parametrize("place", hidden())
def test_weights_in_other_files_are_refused(place: str, tmp_path: Path) -> None:
    path = saved(hidden()[place], tmp_path / "m.onnx")
    with pytest.raises(InputError, match="its weights are in other files"):
        read_metadata(path)
    with pytest.raises(InputError, match="its weights are in other files"):
        load_onnx_detector(path)


def test_what_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(InputError, match="file not found"):
        read_metadata(path)
    whole = model(weights=(numpy_helper.from_array(np.ones(99, np.float32), "w"),))
    for content in (b"", b"text", whole.SerializeToString()[:-3], bytes(100), b"\x0b" * 50):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"m\.onnx: damaged, or not an ONNX model"):
            read_metadata(path)


def test_nested_too_deeply(tmp_path: Path) -> None:
    graph = helper.make_graph([], "g", [], [])
    for _ in range(20):
        node = helper.make_node("If", ["x"], ["y"], then_branch=graph)
        graph = helper.make_graph([node], "g", [], [])
    with pytest.raises(InputError, match="damaged"):
        read_metadata(saved(helper.make_model(graph), tmp_path / "m.onnx"))
