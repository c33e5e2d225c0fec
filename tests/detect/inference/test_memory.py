"""Memory of a long video: not more than of a short one. An hour's worth only where it is asked for.

ACTIONTUBES_LONG=1 python -m pytest tests/detect/inference/test_memory.py -k hour -s
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from actiontubes.backbones.classifier import Classifier, PretrainedModel
from actiontubes.backbones.family import get_variant
from actiontubes.backbones.inception import Trunk
from actiontubes.datasets import table_writer
from actiontubes.datasets.tables import Detections
from actiontubes.datasets.video.reader import VideoInfo
from actiontubes.detect.inference.tubes import detector_tubes, row_file, tube_store
from actiontubes.detect.inference.tubes import zero_shot_tubes as video_tubes
from actiontubes.detect.inference.tubes.detector_tubes import TubeOptions, open_builder
from actiontubes.detect.inference.video_input import VideoInput
from actiontubes.detect.linking import persons
from actiontubes.detect.model.build import build_detector
from actiontubes.detect.model.checkpoint import save_detector
from actiontubes.detect.model.config import DetectorConfig
from actiontubes.detect.model.zero_shot import ClipFeatures, select_labels
from actiontubes.detect.people.person_boxes import FunctionSource

BATCH_FRAMES, PEOPLE, LABELS = 64, 8, ("run", "sit", "jump")
FOR_EVER = 1_000_000


@pytest.fixture
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long tracks are those of 60 frames, and tables are written soon."""
    defaults = {**persons.PersonsConfig.__init__.__kwdefaults__, "part_length": 40}
    monkeypatch.setattr(persons.PersonsConfig.__init__, "__kwdefaults__", defaults)
    monkeypatch.setattr(detector_tubes, "_INTERPOLATED", 20)
    monkeypatch.setattr(table_writer, "_GROUP_ROWS", 2000)
    for module in (tube_store, row_file):
        monkeypatch.setattr(module, "_ROWS_AT_ONCE", 500)


def busy_batch(number: int, key_frame_step: int, stay: int) -> Detections:
    """A crowd in which each stays for so many frames at a place, scored for every class."""
    frames = np.arange(number * BATCH_FRAMES, (number + 1) * BATCH_FRAMES, key_frame_step)
    frame, person, label = (
        grid.ravel()
        for grid in np.meshgrid(frames, np.arange(PEOPLE), np.arange(len(LABELS)), indexing="ij")
    )
    visit = (frame + 13 * person) // stay
    left = 60.0 * person + 1000 * (visit % 2)
    boxes = np.stack([left, left * 0 + 10, left + 40, left * 0 + 90], axis=1)
    score = 0.4 + 0.15 * np.sin(visit + label)
    return Detections(
        np.zeros(len(frame), np.int32), frame.astype(np.int32), label.astype(np.int32), score,
        boxes, ("clip",), LABELS,
    )  # fmt: skip


def state_of_linking(batches: int, folder: Path, key_frame_step: int, stay: int) -> tuple[int, int]:
    """Bytes that linking holds after so many batches, and rows of tubes."""
    options = TubeOptions(threshold=0.1, key_frame_step=key_frame_step)
    rows = 0
    with open_builder(folder, options) as linking:
        for number in range(batches):
            linking.add(busy_batch(number, key_frame_step, stay))
        size = len(pickle.dumps((linking._linker, linking._interpolator)))
        linking.finish(batches * BATCH_FRAMES)
        person_of = linking.tables._number_persons()
        for part in linking.tables._tubes.iter_by_score("clip", LABELS, person_of):
            assert len(part) <= tube_store._ROWS_AT_ONCE + 120
            rows += len(part)
        for detections in linking.tables._iter_detections("clip", LABELS, person_of):
            assert len(detections) <= row_file._ROWS_AT_ONCE
    return size, rows


@pytest.mark.usefixtures("short_parts")
@pytest.mark.parametrize(
    ("key_frame_step", "stay"), [(1, 100), (4, 100), (1, FOR_EVER), (4, FOR_EVER)]
)
def test_rows_do_not_stay_in_memory(tmp_path: Path, key_frame_step: int, stay: int) -> None:
    """But those of people in sight, lately: after 40 batches about as many bytes as after 10."""
    short, few = state_of_linking(10, tmp_path, key_frame_step, stay)
    long, many = state_of_linking(40, tmp_path, key_frame_step, stay)
    assert many - few > 30 * BATCH_FRAMES * PEOPLE * len(LABELS) * 0.9
    assert long < 1.2 * short + 50_000, (short, long)


def find_crowd(frames: int, people: int, stay: int, folder: Path) -> int:
    """Detection without training on a crowd in which each stays for so many frames; the tubes.

    Neither frames, nor a trunk, nor following by appearance take time.
    """
    classes = tuple(f"class {number}" for number in range(400))
    trunk = Trunk(get_variant("i3d"), width_multiplier=0.0625).eval()
    head = Classifier(trunk.out_channels, len(classes)).eval()
    model = PretrainedModel(trunk, head, classes, (0.5,) * 3, (0.5,) * 3)
    picture = np.zeros((24, 32, 3), np.uint8)
    number = np.arange(people)

    def features(model: object, clip: np.ndarray, device: str, length: int) -> ClipFeatures:
        seen = torch.rand(1, trunk.out_channels, 8, 1, 2)
        return ClipFeatures(seen, np.zeros(400, np.float32), (length, *clip.shape[1:3]), len(clip))

    def boxes(frame: int) -> np.ndarray:
        top = 110 * ((frame + 13 * number) // stay % 2)
        return np.stack(
            [9 * number, top, 9 * number + 9, top + 80, 0.6 + 0.01 * number], axis=1
        ).astype(np.float32)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_tubes, "clip_features", features)
        patch.setattr(video_tubes, "trunk_size", lambda width, height: (32, 48))
        info = VideoInfo(Path("crowd.mp4"), 320, 240, 25.0, frames)
        video = VideoInput("crowd", info, lambda start: (picture for _ in range(frames)))
        summary = video_tubes.zero_shot_tubes(
            video, model,
            FunctionSource(
                lambda batch, first: [boxes(first + place) for place in range(len(batch))]
            ),
            select_labels(None, classes), folder, threshold=0, progress=False,
        )  # fmt: skip
    return summary.tubes


@pytest.mark.usefixtures("one_thread", "short_parts")
@pytest.mark.parametrize("stay", [50, FOR_EVER])
def test_without_training_boxes_do_not_stay_in_memory(tmp_path: Path, stay: int) -> None:
    """Though labels are random, so that each person has many, and all tubes are written.

    Were tracks not divided, it would be 17 kB for each person and frame.
    """
    peaks, people = {}, 4
    for frames in (64, 320, 640):  # the first to warm up
        tracemalloc.start()
        tubes = find_crowd(frames, people, stay, tmp_path)
        peaks[frames] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert tubes >= people
    assert peaks[640] - peaks[320] < 320 * people * 500, peaks


CROWD = 30  # boxes a frame that the detector below finds


@pytest.fixture(scope="module")
def crowded(tmp_path_factory) -> Path:
    """A cheap detector with its own proposals and many boxes on every frame."""
    torch.manual_seed(0)
    settings = DetectorConfig(
        labels=("clap", "dive", "run"), backbone="i2d", width_multiplier=0.0625,
        endpoint="Mixed_3c", hidden=8, proposals="features", proposal_endpoint="Mixed_3c",
        proposal_count=CROWD, frames=4, size=(48, 64), norm="batch", anchor_sides=(8, 16),
    )  # fmt: skip
    path = tmp_path_factory.mktemp("crowded") / "detector.safetensors"
    save_detector(build_detector(settings).eval(), path)
    return path


def moving_video(path: Path, frames: int) -> Path:
    """320x240 at 25 frames a second: a bright square that moves over noise."""
    noise = np.random.default_rng(0).integers(0, 80, (240, 320, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number in range(frames):
            picture = noise.copy()
            x, y = 3 * number % 260, 2 * number % 180
            picture[y : y + 60, x : x + 60] = 230
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode(None))
    return path


DETECT = (
    "import resource, sys\n"
    "from actiontubes.tools.main import main\n"
    "assert main(['detect', *sys.argv[1:]]) == 0\n"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
)


FIND = (
    "import resource, sys\n"
    "from pathlib import Path\n"
    "sys.path.append(sys.argv[1])\n"
    "from test_memory import find_crowd\n"
    "frames, people, stay = map(int, sys.argv[2:5])\n"
    "print(find_crowd(frames, people, stay, Path(sys.argv[5])), 'tubes')\n"
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
)
MINUTES = (2, int(os.environ.get("ACTIONTUBES_LONG_MINUTES", "60")))
long_run = pytest.mark.skipif(not os.environ.get("ACTIONTUBES_LONG"), reason="takes many minutes")


def peak(code: str, *words: object) -> float:
    """Megabytes that a process of its own has held at most."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return int(done.stdout.splitlines()[-1]) / 1024


@long_run
def test_an_hour_and_two_minutes(crowded: Path, tmp_path: Path) -> None:
    peaks = []
    for minutes in MINUTES:
        video = moving_video(tmp_path / f"{minutes}.mp4", minutes * 60 * 25)
        words = [video, "--checkpoint", crowded, "--threshold", 0.1, "--out", tmp_path / "out",
                 "--device", "cpu", "--tables-only"]  # fmt: skip
        peaks.append(peak(DETECT, *words))
    assert peaks[1] - peaks[0] < 100, peaks


@long_run
@pytest.mark.parametrize("stay", [100, FOR_EVER])
def test_an_hour_and_two_minutes_without_training(tmp_path: Path, stay: int) -> None:
    """17 to 33 MB more than in two minutes were measured."""
    folder = Path(__file__).parent
    peaks = [peak(FIND, folder, minutes * 1500, 20, stay, tmp_path) for minutes in MINUTES]
    assert peaks[1] - peaks[0] < 100, peaks
