"""Results of many videos: whole or not there, never taken for another run's, joined when done."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from actiontubes.datasets.errors import InputError
from actiontubes.datasets.table_io import read_table, write_table
from actiontubes.datasets.table_writer import OUTPUT_FILES, RESULT_FILES
from actiontubes.datasets.tables import (
    Actions,
    Detections,
    Tracks,
    Tubes,
    Videos,
    make_videos,
    select_rows,
)
from actiontubes.datasets.video.reader import read_video
from actiontubes.detect.inference import resumable_run
from actiontubes.detect.inference.distributed import ProcessShare, lock_folder, process_share
from actiontubes.detect.inference.resumable_run import (
    RECORD,
    DrawOptions,
    VideoJob,
    delete_unfinished,
    finished_jobs,
    is_done,
    join_results,
    plan_jobs,
    process_videos,
    set_aside,
)
from actiontubes.detect.inference.tubes.video_output import VideoSummary
from actiontubes.detect.linking.linker import link
from actiontubes.detect.visualization.video import draw_video

IDENTITY = {"checkpoint": "0" * 64, "key_frame_step": 1, "labels": None}


def write_results(
    name: str, folder: Path, corners: Sequence[tuple[float, float]] = ((0, 0), (100, 50))
) -> VideoSummary:
    """Two tubes of a made-up video, of 20x20 pixels."""
    frame = np.tile(np.arange(16, dtype=np.int32), 2)
    corner = np.repeat(np.array(corners, np.float64), 16, axis=0)
    found = Detections(
        np.zeros(32, np.int32), frame, np.repeat([0, 1], 16).astype(np.int32),
        np.repeat([0.9, 0.5], 16), np.concatenate([corner, corner + 20], axis=1), (name,),
        ("run", "sit"),
    )  # fmt: skip
    first, person = np.array([0, 16]), np.array([1, 2], np.int32)
    tubes = replace(link(found), person=np.repeat(person, 16))
    actions = Actions(
        tubes.video[first], person, tubes.label[first], np.zeros(2), np.full(2, 0.64),
        tubes.frame[first], tubes.frame[first + 15], tubes.tube_score[first], (name,),
        tubes.label_names,
    )  # fmt: skip
    tracks = Tracks(tubes.video, tubes.person, tubes.frame, tubes.score, tubes.boxes, (name,))
    videos = make_videos([name], 16, 320, 240, 25.0)
    for table, file in zip((found, tubes, videos, actions, tracks, actions), RESULT_FILES):
        write_table(table, folder / file)
    return VideoSummary(name, num_frames=16, people=2, actions=2, tubes=2, best=())


class Detecting:
    """Stands for a detector: what began, ran and ended; `during` is called while it runs."""

    def __init__(self, during: Callable[[str], None] = lambda name: None) -> None:
        self.during = during
        self.began: list[str] = []
        self.ran: list[str] = []
        self.ended: list[str] = []

    @contextmanager
    def __call__(self, path: Path, name: str) -> Iterator[Callable[[Path], VideoSummary]]:
        if name == "bad":
            raise InputError(f"{path}: no boxes for it")
        self.began.append(name)

        def run(folder: Path) -> VideoSummary:
            self.ran.append(name)
            summary = write_results(name, folder)
            self.during(name)
            return summary

        try:
            yield run
        finally:
            self.ended.append(name)


def videos(folder: Path, *names: str) -> list[VideoJob]:
    """With files that are no videos: nothing here looks into them."""
    for name in names:
        (folder / f"{name}.mp4").write_text(name)
    return plan_jobs(folder / "out", [folder / f"{name}.mp4" for name in names], names)


def run(todo: list[VideoJob], detecting: Detecting, settings: dict = IDENTITY) -> list:
    return [result for _, result in process_videos(todo, detecting, settings, None)]


def tables(out: Path) -> list[bytes]:
    return [(out / name).read_bytes() for name in RESULT_FILES]


def test_finished_videos_are_skipped(tmp_path: Path) -> None:
    todo, detecting = videos(tmp_path, "a", "b", "c", "d"), Detecting()
    out = tmp_path / "out"
    run(todo[:2], detecting)
    assert set(finished_jobs(todo, IDENTITY)) == {"a", "b"}
    results = run(todo, detecting)
    assert results[:2] == [None, None] and [r.tubes for r in results[2:]] == [2, 2]
    assert detecting.ran == ["a", "b", "c", "d"] == detecting.ended
    assert join_results(todo, out) == (4 * 16, True)
    again = tmp_path / "again"
    again.mkdir()
    others = plan_jobs(again, [video.path for video in todo], [video.name for video in todo])
    run_all = [result for _, result in process_videos(others, Detecting(), IDENTITY, None)]
    assert all(isinstance(result, VideoSummary) for result in run_all)
    join_results(others, again)
    assert tables(out) == tables(again)
    assert read_table(Videos, out / "videos.parquet").video == ("a", "b", "c", "d")
    assert np.unique(read_table(Tubes, out / "tubes.parquet").tube).tolist() == list(range(8))
    # Joined anew: only the videos asked for, in their order.
    join_results([todo[3], todo[0]], out)
    assert read_table(Videos, out / "videos.parquet").video == ("d", "a")


def test_the_next_is_begun_while_one_runs(tmp_path: Path) -> None:
    seen = {}
    detecting = Detecting(lambda name: seen.update({name: list(detecting.began)}))
    run(videos(tmp_path, "a", "b", "c"), detecting)
    assert seen == {"a": ["a", "b"], "b": ["a", "b", "c"], "c": ["a", "b", "c"]}


@pytest.mark.parametrize(
    "error", [InputError("torn"), OSError(28, "No space left on device"), AttributeError("width")]
)
def test_bad_videos_do_not_stop_the_others(tmp_path: Path, error: Exception) -> None:
    def during(name: str) -> None:
        if name == "torn":
            raise error

    todo = videos(tmp_path, "a", "bad", "torn", "b")
    results = run(todo, Detecting(during))
    assert [type(result) for result in results] == [
        VideoSummary, InputError, type(error), VideoSummary
    ]  # fmt: skip
    assert results[2] is error
    assert [video.name for video in todo if not is_done(video, None)] == ["bad", "torn"]
    below = tmp_path / "out" / "videos"
    assert sorted(path.name for path in below.iterdir()) == ["a", "b"], "nothing half-written"
    assert join_results(todo, tmp_path / "out") == (32, True)
    assert isinstance(run(todo, Detecting())[2], VideoSummary), "a rerun takes it up"


def test_interrupted(tmp_path: Path) -> None:
    def during(name: str) -> None:
        if name == "b":
            raise KeyboardInterrupt

    todo, detecting = videos(tmp_path, "a", "b", "c"), Detecting(during)
    with pytest.raises(KeyboardInterrupt):
        run(todo, detecting)
    assert sorted(detecting.ended) == ["a", "b", "c"], "what was being read ahead ends, too"
    assert sorted(path.name for path in (tmp_path / "out" / "videos").iterdir()) == ["a"]


@pytest.mark.parametrize(
    ("during", "why"),
    [
        (lambda path: path.unlink(), "changed or was deleted while it was being read"),
        (lambda path: path.write_text("longer than before"), "changed or was deleted"),
    ],
)
def test_a_video_that_changes_while_it_is_read(tmp_path: Path, during, why: str) -> None:
    todo = videos(tmp_path, "a", "b")
    results = run(todo, Detecting(lambda name: name == "a" and during(todo[0].path)))
    assert isinstance(results[0], InputError) and why in str(results[0])
    assert isinstance(results[1], VideoSummary) and not todo[0].folder.exists()


def test_other_settings_are_refused(tmp_path: Path) -> None:
    todo = videos(tmp_path, "a", "b")
    run(todo[:1], Detecting())
    for changes, why in (
        (
            {"key_frame_step": 4},
            "made with --key-frame-step 1, and this run is with --key-frame-step 4; choose another",
        ),
        (
            {"checkpoint": "1" * 64},
            "--checkpoint with SHA-256 00000000..., and this run is with --checkpoint with SHA-256 "
            "11111111...;",
        ),
        ({"labels": ["run"]}, "made without --labels, and this run is with --labels run;"),
        (
            {"labels": list("abcde")},
            "made without --labels, and this run is with --labels a, b, c and 2 m",
        ),
        ({"link": "act"}, "made without --link, and this run is with --link act"),
        # Without training there is a backbone, which nobody may have asked for.
        (
            {"backbone": "i3d", "checkpoint": None},
            "--checkpoint with SHA-256 00000000..., and this run i",
        ),
    ):
        with pytest.raises(InputError) as error:
            finished_jobs(todo, IDENTITY | changes)
        assert why in str(error.value) and str(todo[0].folder) in str(error.value)
    set_aside(todo)
    assert not finished_jobs(todo, IDENTITY | {"key_frame_step": 4})
    assert (todo[0].folder / "tubes.parquet").is_file(), "until the new results are complete"


def test_records_of_version_0_1_are_understood(tmp_path: Path) -> None:
    todo = videos(tmp_path, "a")
    run(todo, Detecting(), {"checkpoint": None, "every": 4, "scene": 0.5})
    settings = {"checkpoint": None, "key_frame_step": 4, "scene_weight": 0.5}
    assert set(finished_jobs(todo, settings)) == {"a"}
    with pytest.raises(InputError, match="made with --key-frame-step 4, and this run is with"):
        finished_jobs(todo, settings | {"key_frame_step": 1})
    assert finished_jobs(todo, settings | {"proposal_step": 1}), "what it was before that option"
    with pytest.raises(InputError, match="made with --proposal-step 1, and this run is with"):
        finished_jobs(todo, settings | {"proposal_step": 4})


def test_another_video_of_that_name_is_refused(tmp_path: Path) -> None:
    todo = videos(tmp_path, "a")
    run(todo, Detecting())
    moved = tmp_path / "elsewhere.mp4"
    todo[0].path.rename(moved)
    assert finished_jobs(todo, IDENTITY), "gone, but it was there"
    moved.rename(todo[0].path)
    assert finished_jobs(todo, IDENTITY)
    todo[0].path.write_text("another")
    with pytest.raises(
        InputError, match=r"contains results of another .*a\.mp4, or of an earlier version"
    ):
        finished_jobs(todo, IDENTITY)


@pytest.mark.parametrize("content", ["", "{}", "[1]", "not JSON"])
def test_a_damaged_record(tmp_path: Path, content: str) -> None:
    todo = videos(tmp_path, "a")
    run(todo, Detecting())
    (todo[0].folder / RECORD).write_text(content)
    with pytest.raises(InputError, match=r"record\.json: is damaged; delete its"):
        finished_jobs(todo, IDENTITY)


def modified(out: Path) -> list[int]:
    return [(out / name).stat().st_mtime_ns for name in RESULT_FILES]


def test_joined_tables_stay_until_the_new_ones_are_complete(tmp_path: Path, monkeypatch) -> None:
    todo, out = videos(tmp_path, "a", "b"), tmp_path / "out"
    run(todo[:1], Detecting())
    join_results(todo[:1], out)
    before, times = tables(out), modified(out)
    assert join_results(todo[:1], out) == (16, False), "nothing is new"
    set_aside(todo)
    assert join_results(todo, out) == (0, False), "nothing to join"
    run(todo, Detecting())
    assert (tables(out), modified(out)) == (before, times)
    (todo[1].folder / OUTPUT_FILES.videos).write_bytes(b"PAR1 damaged PAR1")
    with pytest.raises(
        InputError, match=r"videos/b/videos\.parquet: is damaged; delete its folder"
    ):
        join_results(todo, out)
    with pytest.raises(
        InputError, match=r"videos/b/videos\.parquet: is damaged; delete its folder"
    ):
        finished_jobs(todo, IDENTITY)
    assert (tables(out), modified(out)) == (before, times), "one of four would be new"
    set_aside(todo[1:])
    run(todo, Detecting())
    assert join_results(todo, out) == (32, True) and join_results(todo, out) == (32, False)
    (out / OUTPUT_FILES.labels).unlink()
    assert join_results(todo, out) == (32, True) and (out / OUTPUT_FILES.labels).is_file()
    assert join_results(todo[:1], out) == (16, True) and tables(out) == before


@pytest.mark.parametrize("name", RESULT_FILES)
def test_a_folder_that_lacks_a_file_is_made_anew(tmp_path: Path, name: str) -> None:
    todo, detecting = videos(tmp_path, "a", "b"), Detecting()
    run(todo, detecting)
    (todo[1].folder / name).unlink()
    with pytest.warns(UserWarning, match=rf"videos/b: {name} is missing; the video is processed a"):
        assert set(finished_jobs(todo, IDENTITY)) == {"a"}
    assert run(todo, detecting)[0] is None
    assert detecting.ran == ["a", "b", "b"] and (todo[1].folder / name).is_file()


def test_leftovers_of_killed_runs_are_deleted(tmp_path: Path) -> None:
    todo = videos(tmp_path, "a", "b")
    run(todo[:1], Detecting())
    half = todo[1].folder.with_name(".b.part")
    half.mkdir()
    (half / "tubes.parquet").touch()
    delete_unfinished(tmp_path / "out")
    assert [path.name for path in half.parent.iterdir()] == ["a"]


def test_drawn_copies(tmp_path: Path, monkeypatch) -> None:
    drawn: list[tuple[str, bool]] = []
    full_for = ["b"]

    def draw(
        video: Path, tubes: Tubes, path: Path, *, tracks: Tracks, clock: bool, trail: bool
    ) -> None:
        assert len(tubes) == len(tracks) == 32 and clock
        if video.stem in full_for:
            full_for.remove(video.stem)
            raise OSError(28, "No space left on device")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        drawn.append((video.stem, trail))

    monkeypatch.setattr(resumable_run, "draw_video", draw)
    todo, detecting = videos(tmp_path, "a", "b"), Detecting()

    def results(trail: bool) -> list:
        drawing = DrawOptions(one_label=False, trail=trail)
        return [r for _, r in process_videos(todo, detecting, IDENTITY, drawing)]

    assert [type(result) for result in results(False)] == [VideoSummary, OSError]
    assert [is_done(video, DrawOptions(one_label=False)) for video in todo] == [True, False]
    assert results(False) == [None, None] and results(False) == [None, None]
    assert drawn == [("a", False), ("b", False)] and detecting.ran == ["a", "b"]
    results(True)
    todo[0].drawn.unlink()
    results(True)
    assert drawn[2:] == [("a", True), ("b", True), ("a", True)] and detecting.ran == ["a", "b"]


def test_one_label_a_person_is_drawn_and_all_are_kept(tmp_path: Path, numbered: Any) -> None:
    """A person as "run" (0.9) and, one pixel beside it, "sit" (0.5)."""

    @contextmanager
    def detecting(path: Path, name: str) -> Iterator[Callable[[Path], VideoSummary]]:
        yield lambda folder: write_results(name, folder, [(20, 10), (21, 10)])

    path, out = numbered.write(tmp_path / "a.mp4", 16), tmp_path / "out"
    todo = plan_jobs(out, [path], ["a"])

    def drawn(drawing: DrawOptions) -> np.ndarray:
        ((_, result),) = process_videos(todo, detecting, IDENTITY, drawing)
        assert not isinstance(result, Exception)
        return np.stack(list(read_video(todo[0].drawn)))

    one, both = drawn(DrawOptions(one_label=True)), drawn(DrawOptions(one_label=False))
    tubes = read_table(Tubes, todo[0].folder / OUTPUT_FILES.tubes)
    assert tubes.tube_score is not None and len(tubes) == 32
    for expected, rows in ((one, tubes.tube_score > 0.8), (both, tubes.tube_score > 0)):
        draw_video(
            path, select_rows(tubes, rows), tmp_path / "expected.mp4", clock=True, progress=False
        )
        np.testing.assert_array_equal(
            expected, np.stack(list(read_video(tmp_path / "expected.mp4")))
        )
    assert (one != both).any()


def test_tables_first_and_drawings_later(tmp_path: Path, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(
        resumable_run, "draw_video", lambda video, *a, **k: drawn.append(video.stem)
    )
    todo, detecting = videos(tmp_path, "a", "b"), Detecting()
    run(todo, detecting)
    assert detecting.ran == ["a", "b"] and not drawn
    results = list(process_videos(todo, detecting, IDENTITY, DrawOptions(one_label=True)))
    assert [result for _, result in results] == [None, None]
    assert detecting.began == detecting.ran == drawn == ["a", "b"]


def test_names_as_folders(tmp_path: Path) -> None:
    names = ["y", "y/a.mp4", "y%2Fa.mp4", ".hidden", "..", "%2Ehidden"]
    found = plan_jobs(tmp_path, [Path(name) for name in names], names)
    assert len({video.folder for video in found}) == len(names)
    assert all(video.folder.parent == tmp_path / "videos" for video in found)
    assert not any(video.folder.name.startswith(".") for video in found)
    assert json.dumps([video.drawn.name for video in found[:2]]) == (
        '["y.tubes.mp4", "a.mp4.tubes.mp4"]'
    )


def test_shares(monkeypatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert process_share() == ProcessShare(0, 1, 0)
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    assert process_share() == ProcessShare(5, 8, 1)


HOLD = (
    "import sys\nfrom pathlib import Path\n"
    "from actiontubes.detect.inference.distributed import ProcessShare, lock_folder\n"
    "with lock_folder(Path(sys.argv[1]), ProcessShare(int(sys.argv[2]), int(sys.argv[3]))):\n"
    "    print('held', flush=True); sys.stdin.read()\n"
)


def start_holder(folder: Path, index: int, count: int, port: int = 0) -> subprocess.Popen[str]:
    launch = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(index), str(count)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | launch,
    )  # fmt: skip


def wait_until_held(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None and process.stdout.readline() == "held\n"


def test_two_runs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    other = start_holder(out, 0, 1)
    try:
        wait_until_held(other)
        for _ in range(2):
            words = rf"out: another run \(process {other.pid}\) is writing there; wait for it, or"
            with pytest.raises(InputError, match=words), lock_folder(out):
                pass
    finally:
        other.kill()
        other.wait()
    for _ in range(2):
        with lock_folder(out):
            pass
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises((InputError, NotADirectoryError)), lock_folder(path):
            pass


@pytest.mark.slow
def test_processes_of_one_launch_share_a_folder(tmp_path: Path) -> None:
    """The first waits for the others, also for killed ones; a process that is left keeps it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    first, second = (start_holder(tmp_path, index, 2, port) for index in (0, 1))
    for process in (first, second):
        wait_until_held(process)
    first.kill()
    first.wait()
    with pytest.raises(InputError, match=f"process {second.pid}"), lock_folder(tmp_path):
        pass
    second.kill()
    second.wait()
    with lock_folder(tmp_path):
        pass
