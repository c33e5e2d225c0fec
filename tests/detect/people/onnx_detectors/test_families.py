"""Detectors of each family: recognition by their outputs, and decoding against loops by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.file_options import FileOptions
from actiontubes.detect.people.onnx_detectors import source
from actiontubes.detect.people.onnx_detectors.images import InputFormat, letterbox
from actiontubes.detect.people.onnx_detectors.source import OnnxDetector, recognize
from actiontubes.detect.people.proposals import open_proposal_source
from onnx import helper, numpy_helper

Propose = Callable[..., list[np.ndarray]]
SaveModel = Callable[..., Path]


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """To start another process for each model would take most of the time; test_yolox.py does."""
    monkeypatch.setattr(
        source, "isolated_attempt", lambda function, path, *arguments: function(path, *arguments)
    )


COCO = str({0: "person", 1: "bicycle", 2: "car"})
NAMES = {"names": COCO, "task": "detect", "stride": "32", "imgsz": "[64, 64]"}
CELLS = 64 + 16 + 4  # of the three grids of 64x64
LARGE, LARGE_CELLS = (1, 3, 96, 96), 144 + 36 + 9  # where cells are not as many as COCO's rows


def opened(path: Path, person_class: str | None = None) -> OnnxDetector:
    detector = open_proposal_source(str(path), files=FileOptions(person_class=person_class))
    assert isinstance(detector, OnnxDetector)
    return detector


def family(path: Path, person_class: str | None = None) -> str:
    return opened(path, person_class).description


# A frame of 128x96 becomes 64x48 in an input of 64x64, with 8 pixels of gray above and below.
FRAME = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)


def in_letterbox(boxes: list[list[float]]) -> np.ndarray:
    """Boxes x1 y1 x2 y2 of `FRAME` as center, width, height in the 64x64 input, by hand."""
    rows = []
    for x1, y1, x2, y2 in boxes:
        x1, y1, x2, y2 = x1 / 2, y1 / 2 + 8, x2 / 2, y2 / 2 + 8
        rows.append([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1])
    return np.array(rows, np.float32)


PEOPLE = [[10, 20, 50, 90], [60, 4, 100, 80]]


def test_yolov8(propose: Propose, save_model: SaveModel) -> None:
    output = np.zeros((1, 7, CELLS), np.float32)
    output[0, :4, [3, 70]] = in_letterbox(PEOPLE)
    output[0, 4, [3, 70]] = [0.5, 0.75]
    output[0, 5, 11] = 0.9  # a bicycle
    output[0, :4, 11] = [30, 30, 9, 9]
    path = save_model({"output0": output}, metadata=NAMES)
    assert family(path) == "YOLOv8 to v12, 64x64, class 0 (person)"
    (found,) = propose(opened(path), FRAME[None])
    expected = [[*PEOPLE[1], 0.75], [*PEOPLE[0], 0.5]]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    (found,) = propose(opened(path, "bicycle"), FRAME[None])
    assert found.shape == (1, 5) and found[0, 4] == np.float32(0.9)
    (other,) = propose(opened(path, "1"), FRAME[None])
    np.testing.assert_array_equal(found, other)


@pytest.mark.parametrize(("task", "more"), [("pose", 51), ("segment", 32)])
def test_yolov8_with_key_points_or_masks(
    propose: Propose, save_model: SaveModel, task: str, more: int
) -> None:
    output = np.zeros((1, 4 + 1 + more, CELLS), np.float32)
    output[0, :4, 3], output[0, 4, 3] = in_letterbox(PEOPLE)[0], 0.5
    output[0, 5:] = -3  # neither boxes nor scores
    outputs = {"output0": output}
    if task == "segment":
        outputs["output1"] = np.zeros((1, 32, 16, 16), np.float32)
    path = save_model(outputs, metadata={"names": "{0: 'person'}", "task": task})
    (found,) = propose(opened(path), FRAME[None])
    np.testing.assert_allclose(found, [[*PEOPLE[0], 0.5]], rtol=1e-5, atol=1e-4)


def test_yolov8_of_free_size_runs_on_a_rectangle(propose: Propose, save_nodes: SaveModel) -> None:
    """The whole input as one box of each cell, whatever its size; the score is the mean color."""
    floats, nodes, weights, parts = onnx.TensorProto.FLOAT, [], [], []
    for stride in (8, 16, 32):
        kernel = np.full((1, 3, stride, stride), 1 / (3 * stride**2), np.float32)
        weights.append(numpy_helper.from_array(kernel, f"k{stride}"))
        nodes.append(helper.make_node("Conv", ["images", f"k{stride}"], [f"m{stride}"],
                                      kernel_shape=[stride] * 2, strides=[stride] * 2))  # fmt: skip
        nodes.append(helper.make_node("Reshape", [f"m{stride}", "flat"], [f"c{stride}"]))
        parts.append(f"c{stride}")
    weights.append(numpy_helper.from_array(np.array([1, 1, -1]), "flat"))
    weights.append(numpy_helper.from_array(np.array([1, 4, 1]), "four"))
    weights.append(numpy_helper.from_array(np.float32([20, 10, 20, 10]).reshape(1, 4, 1), "box"))
    nodes += [
        helper.make_node("Concat", parts, ["score"], axis=2),
        helper.make_node("Sub", ["score", "score"], ["zero"]),
        helper.make_node("Add", ["zero", "box"], ["boxes"]),
        helper.make_node("Concat", ["boxes", "score"], ["output0"], axis=1),
    ]
    path = save_nodes(
        nodes, [helper.make_tensor_value_info("images", floats, (1, 3, "height", "width"))],
        [helper.make_tensor_value_info("output0", floats, (1, 5, None))], weights,
        {"names": "{0: 'person'}", "imgsz": "[128, 128]"},
    )  # fmt: skip
    assert family(path) == "YOLOv8 to v12, 128x128, and other sizes, class 0 (person)"
    white = np.full((96, 128, 3), 255, np.uint8)  # 128x96 is whole cells: no borders
    (found,) = propose(opened(path), white[None])
    np.testing.assert_allclose(found, [[10, 5, 30, 15, 1]], atol=1e-4)
    (found,) = propose(opened(path), np.repeat(np.repeat(white, 2, 0), 2, 1)[None])
    np.testing.assert_allclose(found, [[20, 10, 60, 30, 1]], atol=1e-4)


def test_yolov5_with_objectness(propose: Propose, save_model: SaveModel) -> None:
    output = np.zeros((1, 3 * CELLS, 8), np.float32)
    output[0, [5, 200], :4] = in_letterbox(PEOPLE)
    output[0, [5, 200], 4:7] = [[0.5, 0.5, 0.9], [0.9, 0.5, 0.1]]
    path = save_model({"output": output}, metadata={"names": str(["person", "dog", "cat"])})
    assert family(path) == "YOLOv5, v6 or v7, 64x64, class 0 (person)"
    (found,) = propose(opened(path), FRAME[None])
    expected = [[*PEOPLE[1], 0.45], [*PEOPLE[0], 0.25]]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_yolov6_has_an_objectness_of_one(propose: Propose, save_model: SaveModel) -> None:
    output = np.zeros((1, CELLS, 6), np.float32)
    output[0, :, 4] = 1
    output[0, 5, :6] = [*in_letterbox(PEOPLE)[0], 1, 0.5]
    path = save_model({"outputs": output})
    assert family(path) == "YOLOv5, v6 or v7, 64x64, class 0"
    (found,) = propose(opened(path), FRAME[None])
    np.testing.assert_allclose(found, [[*PEOPLE[0], 0.5]], rtol=1e-5, atol=1e-4)


def test_final_boxes_of_a_model_with_nms(propose: Propose, save_model: SaveModel) -> None:
    output = np.zeros((1, 300, 6), np.float32)
    output[0, 0] = [5, 18, 25, 53, 0.75, 0]
    output[0, 1] = [5, 18, 26, 53, 0.7, 2]  # a car
    output[0, 2] = [30, 10, 50, 48, 0.5, 0]
    path = save_model({"output0": output}, metadata=NAMES)
    assert family(path).startswith("YOLO with NMS or end to end")
    (found,) = propose(opened(path), FRAME[None])
    expected = [[*PEOPLE[0], 0.75], [*PEOPLE[1], 0.5]]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    (found,) = propose(opened(path, "car"), FRAME[None])
    np.testing.assert_allclose(found, [[10, 20, 52, 90, 0.7]], rtol=1e-5, atol=1e-4)


def fractions(boxes: list[list[float]]) -> np.ndarray:
    """Boxes of `FRAME` as center, width and height in fractions of it, by hand."""
    rows = [[(a + c) / 256, (b + d) / 192, (c - a) / 128, (d - b) / 96] for a, b, c, d in boxes]
    return np.array(rows, np.float32)


def test_rf_detr(propose: Propose, save_model: SaveModel) -> None:
    boxes = np.full((1, 9, 4), 0.5, np.float32)
    boxes[0, [2, 7]] = fractions(PEOPLE)
    logits = np.full((1, 9, 91), -9, np.float32)
    logits[0, [2, 7], 1] = [0, np.log(3)]  # probabilities of 1/2 and 3/4
    logits[0, 4, 2] = 4  # a bicycle
    path = save_model({"dets": boxes, "labels": logits}, (1, 3, 56, 56))
    assert family(path) == "RF-DETR, 56x56, class 1"
    (found,) = propose(opened(path), FRAME[None])
    expected = [[*PEOPLE[1], 0.75], [*PEOPLE[0], 0.5]]
    np.testing.assert_allclose(found[:2], expected, rtol=1e-5, atol=1e-4)
    assert len(found) == 2  # the others' probability is 0.0001


def test_rt_detr_gets_the_size_of_its_boxes(propose: Propose, save_nodes: SaveModel) -> None:
    """Boxes are fractions times the width and height that the network is told."""
    floats, integers = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    corners = np.array(PEOPLE, np.float32) / [128, 96, 128, 96]
    constants = {
        "fractions": corners[None].astype(np.float32),
        "label": np.array([[0, 0]]),
        "score": np.float32([[0.5, 0.75]]),
        "one": np.array([1]),
    }
    nodes = [
        helper.make_node("Cast", ["orig_target_sizes"], ["size"], to=floats),
        helper.make_node("Concat", ["size", "size"], ["sides"], axis=1),
        helper.make_node("Unsqueeze", ["sides", "one"], ["row"]),
        helper.make_node("Mul", ["fractions", "row"], ["boxes"]),
        helper.make_node("Identity", ["label"], ["labels"]),
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "mean"], ["zero"]),
        helper.make_node("Add", ["score", "zero"], ["scores"]),
    ]
    path = save_nodes(
        nodes,
        [helper.make_tensor_value_info("images", floats, ("N", 3, 32, 64)),
         helper.make_tensor_value_info("orig_target_sizes", integers, ("N", 2))],
        [helper.make_tensor_value_info("labels", integers, (1, 2)),
         helper.make_tensor_value_info("boxes", floats, (1, 2, 4)),
         helper.make_tensor_value_info("scores", floats, (1, 2))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    with pytest.raises(InputError, match=r"class numbers without names; give .* --person-class"):
        opened(path)
    assert family(path, "0") == "RT-DETR or D-FINE, 64x32, class 0"
    (found,) = propose(opened(path, "0"), FRAME[None])
    expected = [[*PEOPLE[1], 0.75], [*PEOPLE[0], 0.5]]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    assert not len(propose(opened(path, "5"), FRAME[None])[0])


def test_rt_detr_of_transformers_and_ultralytics(propose: Propose, save_model: SaveModel) -> None:
    boxes = np.full((1, 300, 4), 0.25, np.float32)
    boxes[0, 5] = fractions(PEOPLE)[0]
    logits = np.full((1, 300, 80), -9, np.float32)
    logits[0, 5, 0] = np.log(3)
    path = save_model({"logits": logits, "pred_boxes": boxes})
    assert family(path) == "RT-DETR or D-FINE of transformers, 64x64, class 0"
    (found,) = propose(opened(path), FRAME[None])
    np.testing.assert_allclose(found, [[*PEOPLE[0], 0.75]], rtol=1e-5, atol=1e-4)

    joined = np.concatenate([boxes, 1 / (1 + np.exp(-logits))], axis=2)
    path = save_model({"output0": joined}, (1, 3, 96, 96))
    assert family(path) == "RT-DETR of ultralytics, 96x96, class 0"
    (other,) = propose(opened(path), FRAME[None])
    np.testing.assert_allclose(other, found, rtol=1e-6)

    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, :, :4], rows[0, :, 4], rows[0, :, 5] = boxes[0], joined[0, :, 4], 3
    rows[0, 5, 5] = 0
    path = save_model({"output0": rows}, (1, 3, 96, 96), {"names": COCO})
    assert family(path) == "RT-DETR of ultralytics, 96x96, class 0 (person)"
    (other,) = propose(opened(path), FRAME[None])
    np.testing.assert_allclose(other, found, rtol=1e-6)


@pytest.mark.parametrize(
    ("channels", "rows_last", "name"),
    [(84, False, "YOLOv8 to v12"), (85, True, "YOLOX")],
)
def test_random_weights(
    propose: Propose, save_network: SaveModel, channels: int, rows_last: bool, name: str
) -> None:
    """A network with random weights: the boxes are those of a loop over onnxruntime's output."""
    path = save_network(channels, 96, rows_last=rows_last)
    assert family(path).startswith(name)
    (found,) = propose(opened(path), FRAME[None])
    centered = name != "YOLOX"
    image, _ = letterbox(FRAME, (96, 96), centered=centered)
    pixels = image / 255 if centered else image[:, :, ::-1]  # YOLOX takes blue first
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"images": pixels.transpose(2, 0, 1)[None].astype(np.float32)})
    cells = output[0] if rows_last else output[0].T
    expected = []
    for x, y, w, h, *scores in cells.tolist():
        score = scores[0] * scores[1] if rows_last else scores[0]
        top = 12 if centered else 0
        corners = [x - w / 2, y - h / 2 - top, x + w / 2, y + h / 2 - top]
        box = np.clip(np.array(corners) / 0.75, 0, [128, 96, 128, 96])
        if score >= 0.02 and (box[2:] > box[:2]).all():
            expected.append([*box, score])
    assert 0 < len(found) <= len(expected)  # overlapping ones are suppressed
    gaps = np.abs(found[:, None] - np.array(expected)[None]).max(axis=2).min(axis=1)
    assert gaps.max() < 1e-3


def test_half_precision(propose: Propose, save_model: SaveModel) -> None:
    output = np.zeros((1, 5, CELLS), np.float16)
    output[0, :4, 3], output[0, 4, 3] = in_letterbox(PEOPLE)[0], 0.5
    path = save_model({"output0": output}, kind=onnx.TensorProto.FLOAT16)
    (found,) = propose(opened(path), FRAME[None])
    np.testing.assert_allclose(found, [[*PEOPLE[0], 0.5]], atol=0.1)


def test_normalization_by_hand() -> None:
    frame = np.zeros((2, 2, 3), np.uint8)
    frame[0, 0] = [255, 0, 51]
    format = InputFormat(fit="stretch", mean=(0.5, 0.25, 0), std=(0.5, 1, 2))
    image, placement = format.prepare(frame, (2, 2))
    np.testing.assert_allclose(image[0, :, 0, 0], [1, -0.25, 0.1], rtol=1e-6)
    np.testing.assert_allclose(image[0, :, 1, 1], [-1, -0.25, 0], rtol=1e-6)
    assert placement.scale.tolist() == [1, 1] and placement.offset.tolist() == [0, 0]
    image, _ = InputFormat(fit="stretch", bgr=True, scale=1).prepare(frame, (2, 2))
    assert image[0, :, 0, 0].tolist() == [51, 0, 255]


def test_smooth_resizing_averages_pixels() -> None:
    """A checkerboard of single pixels is gray at a quarter of its size."""
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[::2, ::2] = frame[1::2, 1::2] = 255
    image, _ = InputFormat(fit="smooth", scale=1).prepare(frame, (16, 16))
    assert np.abs(image - 127.5).max() < 4
    image, _ = InputFormat(fit="stretch", scale=1).prepare(frame, (60, 60))
    assert np.abs(image - 127.5).max() > 50


@pytest.mark.parametrize(
    ("names", "count", "choice", "expected"),
    [
        ("{0: 'car', 1: 'person'}", 2, None, 1),
        ("['car', 'Person']", 2, None, 1),
        ('{"0": "car", "1": "pedestrian"}', 2, None, 1),
        ("{0: 'people', 1: 'person'}", 2, None, 1),
        ("{0: 'player', 1: 'ball'}", 2, "player", 0),
        ("{0: 'player', 1: 'ball'}", 2, "Ball", 1),
        ("{0: 'player', 1: 'ball'}", 2, "0", 0),
        ("", 1, None, 0),
        ("", 80, None, 0),
        ("", 3, "2", 2),
        (str({number: str(number) for number in range(80)}), 80, None, 0),
        ("__import__('os').getcwd()", 80, None, 0),  # no names: nothing is run
        ("[" * 99_999, 80, None, 0),
    ],
)
def test_the_class_person(
    save_model: SaveModel, names: str, count: int, choice: str | None, expected: int
) -> None:
    output = np.full((1, 4 + count, LARGE_CELLS), 0.5, np.float32)
    output[0, :4] = 9
    path = save_model({"output0": output}, LARGE, metadata={"names": names} if names else None)
    assert recognize(path, choice)[1] == expected


@pytest.mark.parametrize(
    ("names", "count", "choice", "message"),
    [
        ("{0: 'player', 1: 'ball'}", 2, None, "no class person; give .* player, ball"),
        ("{0: 'people', 1: 'pedestrian'}", 2, None, "several classes of people; give the one"),
        ("{0: 'player', 1: 'ball'}", 2, "referee", "--person-class referee: .*player, ball"),
        ("{0: 'player', 1: 'ball'}", 2, "2", "--person-class 2: .* no such class"),
        ("", 3, None, "3 classes without names; give the number of person as --person-class"),
        ("", 3, "3", "--person-class 3: .* no such class; give the class's number, 0 to 2"),
        ("", 3, "person", "--person-class person: .* no such class"),
        ("", 3, "-1", "--person-class -1: .* no such class"),
    ],
)
def test_a_model_without_the_class_is_refused(
    save_model: SaveModel, names: str, count: int, choice: str | None, message: str
) -> None:
    output = np.full((1, 4 + count, LARGE_CELLS), 0.5, np.float32)
    output[0, :4] = 9
    path = save_model({"output0": output}, LARGE, metadata={"names": names} if names else None)
    with pytest.raises(InputError, match=message) as refused:
        opened(path, choice)
    assert "\n" not in str(refused.value) and "people.onnx" in str(refused.value)


@pytest.mark.parametrize(
    ("outputs", "shape", "message"),
    [
        ({"output0": (1, 1000)}, (1, 3, 64, 64), r"outputs are not those of .* \(output0 1x1000\)"),
        ({"a": (1, 3, 8, 8, 85), "b": (1, 3, 4, 4, 85)}, (1, 3, 64, 64), "a 1x3x8x8x85, b 1x3x4"),
        ({"output0": (1, 7, 99)}, (1, 3, 64, 64), "outputs are not those"),
        ({"output0": (1, 7, CELLS)}, (8, 3, 64, 64), "its input is 8x3x64x64; .* a batch of 1"),
        ({"output0": (1, 7, CELLS)}, (1, 64, 64, 3), "its input is 1x64x64x3"),
    ],
)
def test_foreign_models_are_refused(
    save_model: SaveModel, outputs: dict, shape: tuple[int, ...], message: str
) -> None:
    random = np.random.default_rng(0)
    arrays = {n: random.uniform(1.1, 9, each).astype(np.float32) for n, each in outputs.items()}
    with pytest.raises(InputError, match=message) as refused:
        opened(save_model(arrays, shape))
    assert "\n" not in str(refused.value) and "people.onnx: " in str(refused.value)


def test_scores_and_boxes_that_cannot_be(save_model: SaveModel) -> None:
    logits = np.full((1, 84, LARGE_CELLS), -3, np.float32)
    logits[0, :4] = 20
    with pytest.raises(InputError, match=r"scores are not between 0 and 1; export .* sigmoids"):
        opened(save_model({"output0": logits}, LARGE))
    fractions = np.full((1, 84, LARGE_CELLS), 0.5, np.float32)
    with pytest.raises(InputError, match="its boxes are fractions, not pixels"):
        opened(save_model({"output0": fractions}, LARGE))


def test_rotated_boxes_are_refused(save_model: SaveModel) -> None:
    output = np.full((1, 8, CELLS), 0.5, np.float32)
    with pytest.raises(InputError, match="outputs are not those"):
        opened(save_model({"output0": output}, metadata={**NAMES, "task": "obb"}))


def test_an_option_of_another_source_is_refused() -> None:
    with pytest.raises(InputError, match="--person-class: describes an ONNX detector"):
        open_proposal_source("frame", files=FileOptions(person_class="0"))
    with pytest.raises(InputError, match="--first-frame: describes a file of person boxes"):
        open_proposal_source("people.onnx", files=FileOptions(first_frame=1))
