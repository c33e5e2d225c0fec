"""YOLOX models in ONNX files: geometry, decoding, real models on real clips, bad files."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Tubes
from actiontubes.detect.people.onnx_detectors import images
from actiontubes.detect.people.onnx_detectors import yolox as onnx_models
from actiontubes.detect.people.onnx_detectors.source import open_network, recognize
from actiontubes.detect.people.onnx_file import input_shape, load_model, with_free_shape
from actiontubes.detect.people.proposals import open_proposal_source
from hypothesis import given, settings
from hypothesis import strategies as st

PERSON = "person_detectors/person_yolox_192.onnx"
NANO = "person_detectors/yolox_nano_416.onnx"
SSDLITE = "pedestrian-ssdlite"
Shared = Callable[[str], Path]
Propose = Callable[..., list[np.ndarray]]


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 8), st.integers(1, 8))
def test_letterbox_maps_points_there_and_back(
    height: int, width: int, rows: int, columns: int
) -> None:
    size = (32 * rows, 32 * columns)
    image, placement = images.letterbox(np.zeros((height, width, 3), np.uint8), size)
    scale = placement.scale
    assert not placement.offset.any()
    assert image.shape == (*size, 3) and image.dtype == np.float32
    drawn = np.argwhere(image[:, :, 0] != images.PADDING)
    # The frame's bottom right corner is where the image's content ends, to the pixel.
    np.testing.assert_allclose(drawn.max(axis=0) + 1, np.array([height, width]) * scale[::-1])
    points = np.random.default_rng(0).uniform(0, 500, (20, 2))
    np.testing.assert_allclose(points * scale / scale, points, rtol=1e-15)
    # As large as fits, in whole pixels.
    fitting = np.array([width, height]) * min(size[0] / height, size[1] / width)
    resized = np.array([width, height]) * scale
    assert ((resized > fitting - 1) & (resized <= np.maximum(fitting, 1) + 1e-6)).all()


def test_letterbox_keeps_a_frame_that_fits() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (256, 340, 3), np.uint8)
    image, placement = images.letterbox(frame, (256, 352))
    assert (image[:, :340] == frame).all() and (image[:, 340:] == 114).all()
    assert placement.scale.tolist() == [1, 1] and placement.offset.tolist() == [0, 0]
    image, placement = images.letterbox(frame, (256, 351), centered=True)
    assert (image[:, 5:345] == frame).all() and (image[:, [4, 345]] == 114).all()
    assert placement.scale.tolist() == [1, 1] and placement.offset.tolist() == [5, 0]


@pytest.mark.parametrize(
    ("frame", "own", "size"),
    [
        ((256, 340), 192, (256, 352)),  # the frame's own size, in multiples of 32
        ((240, 320), 416, (256, 320)),
        ((1080, 1920), 416, (480, 832)),  # at most twice the model's
        ((1920, 1080), 192, (384, 224)),
        ((4, 4), 192, (96, 96)),  # at least half of it
        ((1, 1000), 192, (32, 384)),
    ],
)
def test_input_size_follows_the_frame(
    frame: tuple[int, int], own: int, size: tuple[int, int]
) -> None:
    assert onnx_models.input_size(frame, (own, own)) == size


def slow_decode(output: np.ndarray, size: tuple[int, int]) -> list[list[float]]:
    """YOLOX's decoding, cell by cell: corners and score."""
    rows, cell = [], 0
    for stride in (8, 16, 32):
        for row in range(size[0] // stride):
            for column in range(size[1] // stride):
                x, y, w, h, objectness, person = (float(v) for v in output[0, cell, :6])
                x, y = (x + column) * stride, (y + row) * stride
                w, h = math.exp(w) * stride, math.exp(h) * stride
                rows.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2, objectness * person])
                cell += 1
    assert cell == output.shape[1]
    return rows


@pytest.mark.parametrize("size", [(64, 64), (32, 96), (96, 64)])
@pytest.mark.parametrize("classes", [1, 80])
def test_decoding_equals_a_loop_over_cells(size: tuple[int, int], classes: int) -> None:
    random = np.random.default_rng(1)
    cells = sum((size[0] // s) * (size[1] // s) for s in (8, 16, 32))
    output = random.normal(size=(1, cells, 5 + classes)).astype(np.float32)
    output[..., 4:] = random.uniform(size=output[..., 4:].shape)
    expected = np.array(slow_decode(output, size))
    assert not onnx_models.is_decoded(output, size)
    boxes, scores = onnx_models.decode_yolox(output, size, decoded=False)
    np.testing.assert_allclose(np.column_stack([boxes, scores]), expected, rtol=1e-6, atol=1e-6)

    # The same boxes as a model would give them that decodes them itself.
    output[0, :, :2] = (expected[:, :2] + expected[:, 2:4]) / 2
    output[0, :, 2:4] = expected[:, 2:4] - expected[:, :2]
    assert onnx_models.is_decoded(output, size)
    boxes, scores = onnx_models.decode_yolox(output, size, decoded=True)
    np.testing.assert_allclose(np.column_stack([boxes, scores]), expected, rtol=1e-4, atol=1e-3)


def clip(path: Path, step: int) -> dict[int, np.ndarray]:
    """Every step-th frame (H, W, 3) RGB of a video, by number."""
    capture, frames = cv2.VideoCapture(str(path)), {}
    for number in range(10**6):
        read, frame = capture.read()
        if not read:
            return frames
        if number % step == 0:
            frames[number] = np.ascontiguousarray(frame[:, :, ::-1])
    raise AssertionError


def best_overlaps(truth: np.ndarray, found: np.ndarray) -> list[float]:
    overlaps = []
    for box in truth:
        low, high = np.maximum(box[:2], found[:, :2]), np.minimum(box[2:], found[:, 2:4])
        both = np.clip(high - low, 0, None).prod(axis=1)
        areas = (box[2:] - box[:2]).prod() + (found[:, 2:4] - found[:, :2]).prod(axis=1)
        overlaps.append(float((both / (areas - both)).max(initial=0)))
    return overlaps


@pytest.fixture(scope="module")
def people_of_clips(shared: Shared) -> list[tuple[np.ndarray, np.ndarray]]:
    """(frame, ground truth boxes) of every 10th frame of the seven UCF101-24 test clips."""
    truth = read_table(Tubes, shared("reference/ucf101-24.groundtruth.parquet"))
    pairs = []
    for path in sorted(shared("ucf101-24/videos").iterdir()):
        scale = np.array([340 / 320, 256 / 240] * 2) if path.suffix == ".mp4" else np.ones(4)
        names = [name for name in truth.video_names if name.endswith(f"/{path.stem}")]
        for number, frame in clip(path, 10).items() if names else ():
            rows = (truth.video == truth.video_names.index(names[0])) & (truth.frame == number)
            if rows.any():
                pairs.append((frame, truth.boxes[rows] * scale))
    return pairs


@pytest.mark.parametrize(
    ("source", "recalls"),
    # At least what shared/data/README.md gives, less the noise of sampling.
    [(PERSON, (0.93, 0.74, 0.38)), (NANO, (0.96, 0.74, 0.35)), (SSDLITE, (0.88, 0.8, 0.35))],
)
def test_recall_on_real_clips(
    request: pytest.FixtureRequest,
    shared: Shared,
    propose: Propose,
    people_of_clips: list[tuple[np.ndarray, np.ndarray]],
    source: str,
    recalls: tuple[float, ...],
) -> None:
    if source == SSDLITE:
        request.getfixturevalue("pedestrian_weights")
    opened = open_proposal_source(source if source == SSDLITE else str(shared(source)))
    detections = [propose(opened, frame[None])[0] for frame, _ in people_of_clips]
    truths = [truth for _, truth in people_of_clips]
    overlaps = np.concatenate(list(map(best_overlaps, truths, detections)))
    measured = [float((overlaps >= iou).mean()) for iou in (0.3, 0.5, 0.7)]
    print(source, f"{np.mean(list(map(len, detections))):.1f} boxes a frame, recall of {measured}")
    assert all(have >= want for have, want in zip(measured, recalls, strict=True)), measured


@pytest.mark.parametrize("model", [PERSON, NANO])
def test_batches_and_single_frames_agree(shared: Shared, propose: Propose, model: str) -> None:
    frames = np.stack(list(clip(shared("ucf101-24/videos/v_SalsaSpin_g03_c01.mp4"), 60).values()))
    source = open_proposal_source(str(shared(model)))
    together = propose(source, frames)
    for frame, boxes in zip(frames, together, strict=True):
        assert len(boxes) and boxes.dtype == np.float32
        assert (boxes[:, 2] <= 340).all() and (boxes[:, 3] <= 256).all() and (boxes >= 0).all()
        np.testing.assert_array_equal(propose(source, frame[None])[0], boxes)
    assert propose(source, frames[:0]) == []
    assert propose(source, np.zeros((1, 3, 5, 3), np.uint8))[0].shape[1] == 5


@pytest.mark.parametrize("model", [PERSON, NANO])
@pytest.mark.parametrize("free_size", [False, True])
def test_onnxruntime_agrees_with_opencv(shared: Shared, model: str, free_size: bool) -> None:
    path = shared(model)
    loaded = load_model(path)
    shape = input_shape(loaded, path)
    assert shape == (1, 3, *shape[2:]) and set(shape[2:]) == {192 if model == PERSON else 416}
    size = (96, 160) if free_size else shape[2:]
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.float32)
    network = cv2.dnn.readNetFromONNX(str(path))
    network.setInput(cv2.dnn.blobFromImage(image, swapRB=True))
    person, label, _, any_size = recognize(path)[1:]
    assert (person, label, any_size) == (0, "", True)
    run = open_network(with_free_shape(loaded) if free_size else loaded, path)
    blob, _ = onnx_models.YOLOX_GRID.input.prepare(image.astype(np.uint8), size)
    (output,) = run(blob).values()
    np.testing.assert_allclose(output, network.forward(), rtol=1e-3, atol=1e-3)


def test_declared_input_shapes(tmp_path: Path) -> None:
    path, output = tmp_path / "model.onnx", np.zeros((1, 21, 6), np.float32)
    save_constant(path, output, (1, 3, "height", "width"))
    assert input_shape(load_model(path), path) == (1, 3, None, None)
    save_constant(path, output, (1, 3, 32, 64))
    assert input_shape(load_model(path), path) == (1, 3, 32, 64)


def save_constant(path: Path, output: np.ndarray, shape: tuple[int | str, ...]) -> None:
    """A model that gives the same output whatever it is shown."""
    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["mean"]),
        helper.make_node("Conv", ["mean", "none"], ["zero"], kernel_shape=[1, 1]),
        helper.make_node("Reshape", ["zero", "three"], ["nought"]),
        helper.make_node("Add", ["nought", "constant"], ["output"]),
    ]
    weights = [
        onnx.numpy_helper.from_array(np.zeros((1, 3, 1, 1), np.float32), "none"),
        onnx.numpy_helper.from_array(np.array([1, 1, 1]), "three"),
        onnx.numpy_helper.from_array(output, "constant"),
    ]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("images", floats, shape)],
        [helper.make_tensor_value_info("output", floats, output.shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    onnx.save(model, path)


def test_a_model_that_decodes_runs_at_its_own_size(propose: Propose, tmp_path: Path) -> None:
    corners, strides = onnx_models.cell_grid((64, 64))
    output = np.zeros((1, len(corners), 85), np.float32)
    output[0, :, :2] = (corners + 0.5) * strides
    output[0, :, 2:4] = strides
    output[0, 9, :6] = [12, 20, 16, 24, 0.5, 0.5]
    output[0, 50, [4, 6]] = 1  # a bicycle
    save_constant(tmp_path / "decoded.onnx", output, (1, 3, 64, 64))
    source = open_proposal_source(str(tmp_path / "decoded.onnx"))
    for scale in (1, 2, 5):
        (found,) = propose(source, np.zeros((1, 64 * scale, 64 * scale, 3), np.uint8))
        box = np.array([4, 8, 20, 32]) * scale
        np.testing.assert_allclose(found, [[*box, 0.25]], rtol=1e-6)


@pytest.mark.parametrize(
    ("output", "shape", "message"),
    [
        (np.zeros((1, 84, 7)), (1, 3, 64, 64), "2 classes without names"),
        (np.zeros((1, 84, 5)), (1, 3, 64, 64), r"known here \(output 1x84x5\)"),
        (np.full((1, 84, 6), -3.0), (1, 3, 64, 64), "not between 0 and 1"),
        (np.full((1, 84, 6), np.nan), (1, 3, 64, 64), "not between 0 and 1"),
        (np.full((1, 84, 6), 9.5), (1, 3, 60, 60), r"known here \(output 1x84x6\)"),
        (np.zeros((1, 84, 6)), (1, 1, 64, 64), "its input is 1x1x64x64"),
        (np.zeros((1, 84, 6)), (1, 3, 64), "its input is 1x3x64"),
    ],
)
def test_foreign_models_are_refused(
    tmp_path: Path, output: np.ndarray, shape: tuple[int, ...], message: str
) -> None:
    path = tmp_path / "foreign.onnx"
    save_constant(path, output.astype(np.float32), shape)
    with pytest.raises(InputError, match=message) as refused:
        open_proposal_source(str(path))
    assert str(refused.value).startswith(str(path)) and "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"no model\n", b"\x08\x07", b"\x00" * 99, b"\xff" * 99])
def test_files_that_are_no_models_are_refused(
    tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"bad.onnx: damaged, or not an ONNX model"):
        open_proposal_source(str(path))
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
def test_a_small_model_that_takes_gigabytes(tmp_path: Path) -> None:
    helper, path = onnx.helper, tmp_path / "bomb.onnx"
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["large"]),
        helper.make_node("ReduceSum", ["large"], ["nothing"], keepdims=0),
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["nought"]),
        helper.make_node("Add", ["nought", "half"], ["output"]),
    ]
    weights = [
        onnx.numpy_helper.from_array(np.array([1 << 30], np.int64), "shape"),  # 4 GB
        onnx.numpy_helper.from_array(np.full((1, 21, 6), 0.5, np.float32), "half"),
    ]
    values = [helper.make_tensor_value_info(*each) for each in (
        ("images", onnx.TensorProto.FLOAT, (1, 3, 32, 32)),
        ("output", onnx.TensorProto.FLOAT, (1, 21, 6)),
    )]  # fmt: skip
    graph = helper.make_graph(nodes, "bomb", values[:1], values[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"bomb\.onnx: ") as refused:
        open_proposal_source(str(path))
    assert "\n" not in str(refused.value)


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent.onnx: file not found"):
        open_proposal_source(str(tmp_path / "absent.onnx"))


@pytest.mark.parametrize("model", [PERSON, None])
def test_damaged_models_are_refused_in_one_line(
    model: str | None, request: pytest.FixtureRequest, tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = tmp_path / "cut.onnx"
    if model is None:
        save_constant(path, np.zeros((1, 84, 6), np.float32), (1, 3, 64, 64))
        whole = path.read_bytes()
    else:
        whole = request.getfixturevalue("shared")(model).read_bytes()
    for length in np.linspace(1, len(whole) - 20, 12).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut\.onnx") as refused:
            open_proposal_source(str(path))
        assert "\n" not in str(refused.value)
    # An operator that ONNX does not define; a weight that is missing.
    unknown, incomplete, unsupported = (onnx.load_from_string(whole) for _ in range(3))
    unknown.graph.node[0].op_type = "NoSuchOperator"
    del incomplete.graph.initializer[0]
    for content in (unknown, incomplete):
        path.write_bytes(content.SerializeToString())
        with pytest.raises(InputError, match=r"cut.onnx: not a valid ONNX model \(") as refused:
            open_proposal_source(str(path))
        assert "\n" not in str(refused.value)
    # An operator of ONNX that onnxruntime cannot run on this input.
    output = unsupported.graph.output[0].name
    unsupported.graph.node.append(onnx.helper.make_node("Det", [output], ["determinant"]))
    unsupported.graph.output[0].name = "determinant"
    path.write_bytes(unsupported.SerializeToString())
    with pytest.raises(InputError, match=r"cut.onnx: onnxruntime cannot"):
        open_proposal_source(str(path))
    assert capfd.readouterr().err == ""


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes):  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("bytes") / "any.onnx"
    path.write_bytes(data)
    try:
        shape = input_shape(load_model(path), path)
    except InputError:
        return
    assert all(side is None or side > 0 for side in shape)
