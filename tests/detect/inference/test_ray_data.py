"""A cluster of two workers, one of which is killed: every video once, none twice."""

from __future__ import annotations

import os
import pickle
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Detections, Tubes, make_videos, select_rows
from actiontubes.detect.inference.action_detector import ActionDetector
from actiontubes.detect.inference.ray_data import (
    WorkerTask,
    _Worker,
    plan_workers,
    process_on_ray,
)
from actiontubes.detect.inference.resumable_run import (
    delete_unfinished,
    finished_jobs,
    join_results,
    plan_jobs,
)
from actiontubes.detect.inference.tubes.detector_tubes import TubeOptions
from actiontubes.detect.inference.tubes.video_output import VideoSummary, WriteTables
from actiontubes.detect.inference.video_input import VideoInput

IDENTITY = {"checkpoint": "0" * 64}
NAMES = [f"v{number}" for number in range(6)]


@dataclass
class Killed(ActionDetector):
    """Writes a tube for each video; its process is killed in some videos, as their number says.

    Attributes:
        log: a file with a line "began NAME" or "wrote NAME" for each.
        kills: by name, how often a process dies in the middle of the video.
        write: writes the tables of a video.
    """

    log: Path
    kills: Mapping[str, int]
    write: Any
    identified: str = "0" * 64
    source: Any = None

    def identity(self, options: TubeOptions) -> Mapping[str, Any]:
        return {"checkpoint": self.identified}

    @contextmanager
    def open(
        self, video: VideoInput, options: TubeOptions, *, progress: bool = True
    ) -> Iterator[WriteTables]:
        yield lambda folder: self._write(video.name, folder)

    def _write(self, name: str, folder: Path) -> VideoSummary:
        self._note(f"began {name}")
        began = self.log.read_text().splitlines().count(f"began {name}")
        (folder / "half.parquet").touch()
        if began <= self.kills.get(name, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        (folder / "half.parquet").unlink()
        if name == "v5":
            raise InputError("v5: is bad")
        summary = self.write(name, folder)
        self._note(f"wrote {name}")
        return summary

    def _note(self, line: str) -> None:
        with self.log.open("a") as log:  # one write a line, so that processes do not mix them
            log.write(f"{line}\n")


def write_results(name: str, folder: Path) -> VideoSummary:
    """One tube over the video's frames, in all its tables."""
    import warnings
    from dataclasses import replace

    from actiontubes.datasets.table_io import write_table
    from actiontubes.datasets.table_writer import RESULT_FILES
    from actiontubes.datasets.tables import Actions, Tracks
    from actiontubes.detect.linking.linker import link

    warnings.warn(f"{name}: something was left out", stacklevel=2)
    frame, ones = np.arange(16, dtype=np.int32), np.ones(16, np.int32)
    boxes = np.tile([0.0, 0, 20, 20], (16, 1))
    found = Detections(ones * 0, frame, ones * 0, np.full(16, 0.9), boxes, (name,), ("run",))
    tubes = replace(link(found), person=ones)
    first = np.array([0])
    actions = Actions(
        tubes.video[first], ones[first], tubes.label[first], np.zeros(1), np.full(1, 0.64),
        tubes.frame[first], tubes.frame[first + 15], tubes.tube_score[first], (name,),
        tubes.label_names,
    )  # fmt: skip
    tracks = Tracks(tubes.video, tubes.person, tubes.frame, tubes.score, tubes.boxes, (name,))
    videos = make_videos([name], 16, 320, 240, 25.0)
    for table, file in zip((found, tubes, videos, actions, tracks, actions), RESULT_FILES):
        write_table(table, folder / file)
    return VideoSummary(name, num_frames=16, people=1, actions=1, tubes=1, best=("run",))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two processors of this machine as a cluster."""
    ray = pytest.importorskip("ray", reason="needs Ray: pip install 'actiontubes[ray]'")
    import sys

    import cloudpickle

    # Workers have no module of this test: it travels with what they are sent.
    module = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(module)
    cloudpickle.register_pickle_by_value(module)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # By default workers wait for all other programs.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False,
             logging_level="error", object_store_memory=100 << 20)  # fmt: skip
    yield
    ray.shutdown()
    ray.cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.slow  # a cluster starts in ten seconds, and a killed worker's successor in five
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_worker_is_killed_in_the_middle(cluster, numbered, tmp_path: Path) -> None:
    for name in NAMES:
        numbered.write(tmp_path / f"{name}.mp4", 3)
    out, log = tmp_path / "out", tmp_path / "log"
    log.touch()
    jobs = plan_jobs(out, [tmp_path / f"{name}.mp4" for name in NAMES], NAMES)

    def run(kills: Mapping[str, int], workers: int) -> dict:
        def make(device: str) -> ActionDetector:
            assert device == "cpu"
            return Killed(log, kills, write_results)

        log.write_text("")
        task = WorkerTask(make, "cpu", TubeOptions(), IDENTITY, None, tmp_path, retries=1)
        results = [(job.name, result) for job, result in
                   process_on_ray(jobs, task, workers=workers)]  # fmt: skip
        assert sorted(name for name, _ in results) == NAMES, "each once"
        return dict(results)

    # v1 kills its worker once, v3 every one.
    results = run({"v1": 1, "v3": 99}, workers=2)
    done = ["v0", "v1", "v2", "v4"]
    assert [results[name].tubes for name in done] == [1, 1, 1, 1]
    assert "2 workers died of it" in str(results["v3"]) and str(results["v5"]) == "v5: is bad"
    lines = Counter(log.read_text().splitlines())
    assert [lines[f"wrote {name}"] for name in done] == [1, 1, 1, 1], "none twice"
    assert lines["began v1"] == 2 and lines["began v3"] == 2
    assert list(finished_jobs(jobs, IDENTITY)) == done
    # Started again, the run repeats nothing that is done.
    delete_unfinished(out)
    results = run({}, workers=1)
    assert [results[name] for name in done] == [None] * 4 and results["v3"].num_frames == 16
    assert set(log.read_text().splitlines()) == {"began v3", "wrote v3", "began v5"}
    assert sorted(path.name for path in (out / "videos").iterdir()) == NAMES[:5]
    assert join_results(jobs, out) == (5 * 16, True)
    tubes = read_table(Tubes, out / "tubes.parquet")
    assert tubes.video_names == tuple(NAMES[:5]) and len(np.unique(tubes.tube)) == 5
    for code in range(5):
        rows = select_rows(tubes, np.flatnonzero(tubes.video == code))
        assert rows.frame.tolist() == list(range(16))


def test_a_worker_that_would_compute_something_else(numbered, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    numbered.write(tmp_path / "v0.mp4", 3)
    [job] = plan_jobs(tmp_path / "out", [tmp_path / "v0.mp4"], ["v0"])
    make = partial(_make, log=tmp_path / "log")
    task = WorkerTask(make, "cpu", TubeOptions(), IDENTITY, None, tmp_path)
    row = _Worker(task)({"number": 7, "job": pickle.dumps(job)})
    assert row["number"] == 7 and "give --precision" in row["error"] and not row["summary"]
    assert not list((tmp_path / "out" / "videos").iterdir())


def _make(device: str, log: Path) -> ActionDetector:
    return Killed(log, {}, write_results, "1" * 64)


@pytest.mark.parametrize(
    "cluster, workers, device, expected",
    [
        ({"CPU": 16.0}, None, "auto", (8, {"CPU": 2, "GPU": 0})),
        ({"CPU": 1.0}, None, "cpu", (1, {"CPU": 1, "GPU": 0})),
        ({"CPU": 16.0, "GPU": 4.0}, None, "auto", (4, {"CPU": 4, "GPU": 1})),
        ({"CPU": 16.0, "GPU": 4.0}, 8, "cuda", (8, {"CPU": 2, "GPU": 0.5})),
        ({"CPU": 16.0, "GPU": 4.0}, 4, "cpu", (4, {"CPU": 4, "GPU": 0})),
    ],
)  # fmt: skip
def test_shares_of_a_cluster(cluster, workers, device: str, expected: tuple) -> None:
    assert plan_workers(cluster, workers, device) == expected


def test_clusters_that_are_too_small() -> None:
    with pytest.raises(InputError, match="--workers 3: the cluster has 2"):
        plan_workers({"CPU": 2.0}, 3, "auto")
    with pytest.raises(InputError, match="no GPU"):
        plan_workers({"CPU": 2.0}, None, "cuda")
