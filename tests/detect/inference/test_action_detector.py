"""A loaded model on videos of all kinds, and its result: tables, plot and files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.table_writer import RESULT_FILES
from actiontubes.datasets.tables import Actions, Detections, Tracks, Tubes, Videos
from actiontubes.datasets.video.reader import read_video
from actiontubes.detect.inference.action_detector import ActionDetector
from actiontubes.detect.inference.load import load
from actiontubes.detect.inference.result import Result
from actiontubes.detect.inference.resumable_run import join_results, plan_jobs, process_videos
from actiontubes.detect.inference.tubes.detector_tubes import TubeOptions
from actiontubes.detect.inference.video_input import open_video_file
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.checkpoint import save_detector
from actiontubes.detect.model.config import DetectorConfig

pytestmark = pytest.mark.usefixtures("one_thread")
COUNT = 20


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = DetectorConfig(
        labels=("run", "sit"), backbone="i2d", width_multiplier=0.0625, endpoint="Mixed_3c",
        proposals="external", hidden=8, frames=4, size=(48, 64), norm="batch",
    )  # fmt: skip
    detector = build_detector(config).eval()
    # "run" scores 0.73 everywhere, which is above the threshold of boxes in tubes.
    torch.nn.init.zeros_(detector.head.scores.weight)
    with torch.no_grad():
        detector.head.scores.bias[:] = torch.tensor([0.0, 1.7, 0.0])
    path = tmp_path_factory.mktemp("model") / "detector.safetensors"
    save_detector(detector, path)
    return path


def people(frames: np.ndarray) -> list[np.ndarray]:
    return [np.array([[5, 5, 40, 45, 0.9]], np.float32)] * len(frames)


@pytest.fixture(scope="module")
def detector(checkpoint: Path) -> ActionDetector:
    return load(checkpoint, proposals=people, device="cpu")


@pytest.fixture(scope="module")
def video(numbered, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return numbered.write(tmp_path_factory.mktemp("video") / "a.mp4", COUNT, size=(128, 96))


@pytest.fixture(scope="module")
def result(detector: ActionDetector, video: Path) -> Result:
    return detector.predict(video)


def test_actions_of_a_file(result: Result) -> None:
    assert result.videos.video == ("a",) and result.videos.num_frames.tolist() == [COUNT]
    assert len(result.detections) == 2 * COUNT
    actions = result.to_df()
    assert actions["label"].tolist() == ["run"]
    assert actions[["first_frame", "last_frame"]].values.tolist() == [[0, COUNT - 1]]
    fps = result.videos.fps[0]
    np.testing.assert_allclose(actions[["start", "end"]], [[0, COUNT / fps]])
    assert actions["score"][0] == pytest.approx(result.to_df("labels")["score"][0], abs=1e-6)
    assert list(result.to_df("tubes")["frame"]) == list(range(COUNT))
    assert result.to_df("tracks")["person"].tolist() == [1] * COUNT == [1] * len(result.tracks)
    assert result.actions.person.tolist() == [1] == result.to_df()["person"].tolist()


def as_array(video: Path) -> np.ndarray:
    return np.stack(list(read_video(video)))


def as_iterator(video: Path) -> Iterator[np.ndarray]:
    return read_video(video)


@pytest.mark.parametrize("convert", [as_array, as_iterator])
def test_arrays_and_iterators_give_the_same(
    detector: ActionDetector, result: Result, video: Path, convert: Callable
) -> None:
    fps = float(result.videos.fps[0])
    other = detector.predict(convert(video), fps=fps)
    assert other.videos.video == ("video",) and other.videos.fps[0] == fps
    for column in ("frame", "label", "score", "boxes", "tube", "tube_score"):
        np.testing.assert_array_equal(getattr(other.tubes, column), getattr(result.tubes, column))


def test_a_folder_of_frames(detector: ActionDetector, video: Path, tmp_path: Path) -> None:
    import cv2

    for number, frame in enumerate(as_array(video), 1):
        cv2.imwrite(str(tmp_path / f"{number:05d}.png"), frame[..., ::-1])
    found = detector.predict(tmp_path, fps=25)
    assert found.videos.num_frames.tolist() == [COUNT] and found.videos.fps.tolist() == [25]
    assert found.tubes.frame.tolist() == list(range(COUNT))


def test_saved_files_are_those_of_a_run(
    detector: ActionDetector, result: Result, video: Path, tmp_path: Path
) -> None:
    """The tables of `actiontubes detect`, which calls `process_videos`."""
    options = TubeOptions()
    jobs = plan_jobs(tmp_path / "run", [video], ["a"])

    def open_video(path: Path, name: str) -> Any:
        return detector.open(open_video_file(path, name), options, progress=False)

    ((_, summary),) = process_videos(jobs, open_video, detector.identity(options), None)
    assert not isinstance(summary, Exception) and summary is not None
    join_results(jobs, tmp_path / "run")
    paths = result.save(tmp_path / "saved")
    assert {path.name for path in paths.values()} == {*RESULT_FILES, "index.html"}
    assert paths.pop("page").is_file()  # `detect` writes its own when all videos are done
    for kind, path in paths.items():
        other = tmp_path / "run" / path.name
        if path.suffix == ".csv":
            assert path.read_bytes() == other.read_bytes()
        table = {"detections": Detections, "tubes": Tubes, "tracks": Tracks, "videos": Videos,
                 "actions": Actions, "labels": Actions}[kind]  # fmt: skip
        saved, expected = read_table(table, path), read_table(table, other)
        for name, values in vars(expected).items():
            np.testing.assert_array_equal(getattr(saved, name), values)


def test_the_threshold_leaves_out_tubes(detector: ActionDetector, result: Result, video) -> None:
    assert result.tubes.tube_score is not None
    score = float(result.tubes.tube_score[0])
    assert len(detector.predict(video, threshold=score - 0.01).tubes) == COUNT
    none = detector.predict(video, threshold=score + 0.01)
    assert len(none.tubes) == len(none.labels) == len(none.actions) == 0
    assert len(none.detections) == 2 * COUNT and len(none.tracks) == COUNT
    assert len(none.to_df()) == 0


def test_plots(detector: ActionDetector, result: Result, video: Path) -> None:
    (axes,) = result.plot(3).axes
    assert axes.get_title() == "a, frame 3"
    drawn = np.asarray(axes.images[0].get_array())
    assert drawn.shape[0] % 96 == 0 and drawn.shape[2] == 3
    assert result.plot().axes[0].get_title() == f"a, frame {(COUNT - 1) // 2}"
    with pytest.raises(IndexError, match="no frame 20"):
        result.plot(COUNT)
    once = detector.predict(read_video(video))
    with pytest.raises(InputError, match="cannot be read twice"):
        once.plot()


def test_what_cannot_be(detector: ActionDetector, checkpoint: Path, video: Path) -> None:
    with pytest.raises(InputError, match="contains no frame"):
        detector.predict(iter(()))
    with pytest.raises(ValueError, match=r"float64 of shape \(4, 4, 3\)"):
        detector.predict(np.zeros((2, 4, 4, 3)))
    with pytest.raises(InputError, match="linker nothing"):
        detector.predict(video, linker="nothing")
    with pytest.raises(InputError, match="--labels: only works with a backbone"):
        load(checkpoint, labels=["run"])
    with pytest.raises(InputError, match=r"absent.safetensors: file not found"):
        load("absent.safetensors")
