"""ONNX files from elsewhere: what is refused before onnxruntime or OpenCV sees it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.detect.inference.onnx_predictor import load_onnx_predictor
from actiontubes.detect.people.onnx_file import input_shape, load_model, read_metadata
from actiontubes.detect.people.proposals import open_proposal_source
from onnx import TensorProto, helper, numpy_helper


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
        load_onnx_predictor(path)


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
    for read in (read_metadata, load_model, load_onnx_predictor, open_proposal_source):
        with pytest.raises(InputError, match="its weights are in other files"):
            read(str(path) if read is open_proposal_source else path)  # type: ignore[operator]


def test_the_input_is_the_first_that_is_no_weight(tmp_path: Path) -> None:
    made = model(weights=(numpy_helper.from_array(np.zeros(3, np.float32), "w"),))
    weight = helper.make_tensor_value_info("w", TensorProto.FLOAT, [3])
    free = helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, "height", None, 0, -1, 7])
    made.graph.input.insert(0, free)
    made.graph.input.insert(0, weight)
    path = saved(made, tmp_path / "m.onnx")
    assert input_shape(load_model(path), path) == (1, None, None, None, None, 7)
    made.graph.input[1].type.ClearField("tensor_type")
    with pytest.raises(InputError, match=r"m\.onnx: not a valid ONNX model \(.*; export it again"):
        load_model(saved(made, path))
    constant = numpy_helper.from_array(np.zeros(4, np.float32), "zeros")
    made = model(helper.make_node("Constant", [], ["y"], value=constant))
    del made.graph.input[:]
    with pytest.raises(InputError, match=r"m\.onnx: the ONNX model has no input tensor"):
        input_shape(load_model(saved(made, path)), path)


def test_what_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    for read in (read_metadata, load_model):
        with pytest.raises(InputError, match="file not found"):
            read(path)
    whole = model(weights=(numpy_helper.from_array(np.ones(99, np.float32), "w"),))
    content = whole.SerializeToString()
    not_text = content.replace(b"blue", b"\xff\xfe\xfd\xfc")
    for damaged in (b"", b"text", content[:-3], bytes(100), b"\x0b" * 50, not_text):
        path.write_bytes(damaged)
        for read in (read_metadata, load_model):
            with pytest.raises(
                InputError, match=r"m\.onnx: damaged, or not an ONNX model; export it"
            ):
                read(path)


def test_an_operator_whose_name_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model().SerializeToString().replace(b"Relu", b"\x87\xff\x87\xff"))
    with pytest.raises(InputError, match=r"m\.onnx: not a valid ONNX model \("):
        load_model(path)


def test_nested_too_deeply(tmp_path: Path) -> None:
    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content) & 127 | 128, len(content) >> 7]) + content

    graph = b""
    for _ in range(200):  # of an If's attribute; onnx itself cannot write that many
        graph = field(1, field(5, field(6, graph)))
    (tmp_path / "m.onnx").write_bytes(field(7, graph))
    with pytest.raises(InputError, match="damaged"):
        read_metadata(tmp_path / "m.onnx")


def test_damaged_files_are_read_or_refused_in_one_line(tmp_path: Path) -> None:
    path, random = tmp_path / "m.onnx", np.random.default_rng(0)
    whole = [made.SerializeToString() for made in (model(), *hidden().values())]
    refused = 0
    for step in range(600):
        content = np.frombuffer(whole[step % len(whole)], np.uint8).copy()
        if step % 3 == 0:
            content = content[: random.integers(len(content))]
        else:
            places = random.integers(len(content), size=random.integers(1, 9))
            content[places] = random.integers(256, size=len(places))
        path.write_bytes(content.tobytes())
        try:
            metadata, shape = read_metadata(path), input_shape(load_model(path), path)
        except InputError as error:
            refused += 1
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            continue
        assert all(isinstance(text, str) for pair in metadata.items() for text in pair)
        assert all(side is None or side > 0 for side in shape)
    assert 0 < refused < 600
