"""`actiontubes evaluate`, `link` and `prepare` as a user runs them."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from actiontubes.datasets.table_io import read_table, write_table
from actiontubes.datasets.tables import Detections, Tubes, select_rows
from actiontubes.detect.experiments.benchmark_evaluation import synthetic_detections
from actiontubes.detect.linking.greedy import GreedyConfig, make_greedy_linker
from actiontubes.detect.linking.linker import LINKERS, link
from actiontubes.tools.main import main

Run = Callable[..., subprocess.CompletedProcess[str]]
Shared = Callable[[str], Path]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Run:
    """`run` without a process of its own: much faster."""

    def within(*words: object) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return subprocess.CompletedProcess(words, code, *capsys.readouterr())

    return within


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """A folder with groundtruth, detections and tubes of 25 made-up videos, of all classes."""
    truth, detections = synthetic_detections(0.027)
    write_table(truth, tmp_path / "groundtruth.parquet")
    write_table(detections, tmp_path / "detections.parquet")
    write_table(link(detections), tmp_path / "tubes.parquet")
    return tmp_path


def arguments(folder: Path) -> list[object]:
    return [
        "evaluate",
        *("--ground-truth", folder / "groundtruth.parquet"),
        *("--detections", folder / "detections.parquet"),
        *("--tubes", folder / "tubes.parquet"),
    ]


def test_ucf101_24_from_the_pickle_under_all_protocols(
    run: Run, shared: Shared, tmp_path: Path
) -> None:
    done = run(
        "evaluate",
        *("--ground-truth", shared("ucf101-24/pyannot.pkl")),
        *("--videos", shared("ucf101-24/testlist01.txt")),
        *("--detections", shared("reference/ucf101-24.detections.parquet")),
        *("--tubes", shared("reference/ucf101-24.tubes.parquet")),
        *("--protocol", "all"),
        *("--json", tmp_path / "numbers.json"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    expected = json.loads(shared("reference/ucf101-24.expected.json").read_text())
    for name, parts in expected["protocols"].items():
        for part in ("frame", "video"):
            for threshold, wanted in parts[part].items():
                found = numbers[name][f"{part}_map"][threshold]
                assert found == pytest.approx(wanted["mAP"], abs=1e-3)
    assert f"{numbers['act']['frame_map']['0.5']:.2f}" == "76.35"
    assert "76.35" in done.stdout


def test_json_of_one_protocol(call: Run, dump: Path) -> None:
    done = call(*arguments(dump), "--json", dump / "numbers.json")
    assert done.returncode == 0, done.stderr
    numbers = json.loads((dump / "numbers.json").read_text())
    assert numbers["protocol"] == "act"
    assert set(numbers["frame_map"]) == {"0.3", "0.5", "0.75"}
    assert {"0.1", "0.2", "0.3", "0.5", "0.75", "0.5:0.95"} <= set(numbers["video_map"])
    kinds = ["ap", "localisation", "classification", "timing", "other", "missed"]
    assert list(numbers["frame_errors"]) == kinds
    assert sum(numbers["frame_errors"].values()) == pytest.approx(100)
    assert sum(numbers["video_errors"].values()) == pytest.approx(100)
    averaged = [numbers["video_map"][f"{0.5 + 0.05 * i:g}"] for i in range(10)]
    assert numbers["video_map"]["0.5:0.95"] == pytest.approx(np.mean(averaged))
    some = numbers["frame_ap"]["0.5"]
    assert numbers["frame_map"]["0.5"] == pytest.approx(np.mean(list(some.values())))


def test_class_without_ground_truth(call: Run, dump: Path) -> None:
    detections = read_table(Detections, dump / "detections.parquet")
    names = tuple("dancing" if name == "class00" else name for name in detections.label_names)
    table = pq.read_table(dump / "detections.parquet").to_pydict()
    table["label"] = [names[code] for code in detections.label]
    pq.write_table(pa.table(table), dump / "detections.parquet")
    done = call(*arguments(dump), "--json", dump / "numbers.json")
    assert done.returncode == 0
    assert "warning: no ground truth for dancing" in done.stderr
    ap = json.loads((dump / "numbers.json").read_text())["frame_ap"]["0.5"]
    assert ap["dancing"] is None
    assert ap["class00"] == 0


def test_frame_suppression(call: Run, shared: Shared) -> None:
    words = ["evaluate", "--ground-truth", shared("jhmdb/JHMDB-GT.pkl")]
    words += ["--detections", shared("reference/jhmdb.detections.parquet"), "--frame-iou", 0.5]
    for name, frame_map in (("none", "77.42"), ("act", "79.66"), ("moc", "79.34")):
        done = call(*words, "--frame-suppression", name)
        assert frame_map in done.stdout, done.stderr


def test_choices(call: Run, dump: Path) -> None:
    changed = call(
        *arguments(dump), "--choices", "tube_suppression=none", "frame_extent=continuous"
    )
    assert "act with tube_suppression=none, frame_extent=continuous" in changed.stdout
    for choice, message in (
        ("colour=red", "there is no rule"),
        ("frame_extent=big", "big is not allowed; choose inclusive, continuous, shifted"),
        ("shared_frames=x", "must be a whole number"),
        ("tube_above=1", "must be true or false"),
    ):
        done = call(*arguments(dump), "--choices", choice)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr and done.stderr.count("\n") == 1


def test_coco_files(call: Run, dump: Path) -> None:
    done = call(*arguments(dump), "--coco", dump / "coco")
    assert "COCO AR100" in done.stdout, done.stderr
    again = call(
        "evaluate",
        *("--ground-truth", dump / "groundtruth.parquet"),
        *("--detections", dump / "coco/results.json"),
        *("--json", dump / "again.json"),
    )
    assert again.returncode == 0, again.stderr
    first = call(*arguments(dump), "--json", dump / "first.json")
    assert first.returncode == 0
    frame = [
        json.loads((dump / name).read_text())["frame_map"] for name in ("first.json", "again.json")
    ]
    assert frame[0] == pytest.approx(frame[1])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("x1", None, "row 3: x1 is empty or not a number"),
        ("x1", float("nan"), "row 3: x1 is NaN or infinite"),
        ("x2", -1e6, "row 3: x2 < x1"),
        ("frame", -1, "row 3: frame must be between 0 and 100000000"),
        ("score", 1.5, "row 3: score must be between 0 and 1"),
        ("score", float("inf"), "row 3: score is NaN or infinite"),
        ("label", None, "row 3: label is empty"),
    ],
)
def test_bad_rows(call: Run, dump: Path, column: str, value: object, message: str) -> None:
    table = pq.read_table(dump / "detections.parquet").to_pydict()
    table[column][2] = value
    pq.write_table(pa.table(table), dump / "detections.parquet")
    for command in (arguments(dump), ["link", "--detections", dump / "detections.parquet",
                                      "--out", dump / "out.parquet"]):  # fmt: skip
        done = call(*command)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1 and message in done.stderr
        assert "detections.parquet" in done.stderr
    assert not (dump / "out.parquet").exists()


def test_unknown_video_is_counted_and_named(call: Run, dump: Path) -> None:
    table = pq.read_table(dump / "detections.parquet").to_pydict()
    table["video"][4] = "elsewhere/x"
    pq.write_table(pa.table(table), dump / "detections.parquet")
    done = call(*arguments(dump))
    assert done.returncode == 0
    assert "ignoring 1 of " in done.stderr and "'elsewhere/x' in row 5" in done.stderr


def test_nothing_in_common(call: Run, dump: Path) -> None:
    for column in ("video", "label"):
        table = pq.read_table(dump / "tubes.parquet").to_pydict()
        table[column] = ["elsewhere"] * len(table[column])
        pq.write_table(pa.table(table), dump / "other.parquet")
        done = call(*arguments(dump)[:-1], dump / "other.parquet")
        assert done.returncode == 2 and "'elsewhere'" in done.stderr


def test_damaged_and_empty_files(call: Run, dump: Path) -> None:
    path = dump / "detections.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    done = call(*arguments(dump))
    assert done.returncode == 2 and "cannot be read as a table" in done.stderr
    path.write_bytes(whole)
    write_table(select_rows(read_table(Detections, path), np.empty(0, np.int64)), path)
    done = call(*arguments(dump), "--json", dump / "numbers.json")
    assert (
        done.returncode == 0
        and "is empty, so every ground truth box counts as missed" in done.stderr
    )
    assert json.loads((dump / "numbers.json").read_text())["frame_map"]["0.5"] == 0
    truth = read_table(Tubes, dump / "groundtruth.parquet")
    write_table(select_rows(truth, np.empty(0, np.int64)), dump / "groundtruth.parquet")
    done = call(*arguments(dump))
    assert done.returncode == 2 and "has no ground truth for the videos" in done.stderr


def test_what_must_be_given(call: Run, dump: Path) -> None:
    truth = dump / "groundtruth.parquet"
    link_words = ["link", "--detections", dump / "detections.parquet", "--out"]
    for words, message in (
        (["evaluate"], "ground_truth"),
        (["evaluate", "--ground-truth", truth], "nothing to evaluate"),
        ([*arguments(dump), "--split", 1], "has no splits"),
        ([*arguments(dump), "--video-iou", 0], "greater than 0 and at most 1"),
        ([*arguments(dump)[:-1], truth], "no column tube_score"),
        ([*link_words, dump / "o.txt"], ".parquet"),
        (
            [*link_words, dump / "o.csv", "--preset", "saha"],
            "does not belong to --method act; choose act, moc",
        ),
    ):
        done = call(*words)
        assert done.returncode == 2
        assert message in done.stderr and done.stderr.count("\n") == 1


def test_bootstrap(call: Run, dump: Path) -> None:
    words = [*arguments(dump), "--json", dump / "numbers.json"]
    plain = call(*words)
    before = json.loads((dump / "numbers.json").read_text())
    done = call(*words, "--bootstrap", 50)
    assert done.returncode == 0, done.stderr
    numbers = json.loads((dump / "numbers.json").read_text())
    found = numbers.pop("bootstrap")
    assert numbers == before  # the rest stays as it is
    assert found["resamples"] == 50 and found["level"] == 95
    for part in ("frame_map", "video_map"):
        assert found[part].keys() == numbers[part].keys()
        for name, (low, high) in found[part].items():
            assert 0 <= low <= high <= 100
            shown = f"{numbers[part][name]:.2f} [{low:.2f}, {high:.2f}]"
            assert shown in done.stdout and shown not in plain.stdout
    again = call(*words, "--bootstrap", 50)
    assert again.stdout == done.stdout  # the same draws
    refused = call(*words, "--bootstrap", 0)
    assert refused.returncode == 2 and "must be at least 1" in refused.stderr


def test_against(call: Run, dump: Path) -> None:
    words = [*arguments(dump), "--json", dump / "numbers.json", "--bootstrap", 50]
    detections = read_table(Detections, dump / "detections.parquet")
    other = dump / "other"
    other.mkdir()
    noise = np.random.default_rng(0).random(len(detections))
    write_table(replace(detections, score=noise), other / "detections.parquet")
    shutil.copy(dump / "tubes.parquet", other)
    done = call(*words, "--against", other)
    assert done.returncode == 0, done.stderr
    found = json.loads((dump / "numbers.json").read_text())
    scores = found["against"]["frame_map"]["0.5"]
    alone = call(*arguments(dump)[:3], "--detections", other / "detections.parquet",
                 "--json", dump / "other.json")  # fmt: skip
    assert alone.returncode == 0
    expected = json.loads((dump / "other.json").read_text())["frame_map"]["0.5"]
    assert scores["other"] == pytest.approx(expected)
    assert scores["difference"] == pytest.approx(found["frame_map"]["0.5"] - expected)
    assert 0 < scores["interval"][0] < scores["interval"][1]
    assert scores["sign_differs"] == 0
    assert found["against"]["video_map"]["0.5"]["difference"] == 0  # the same tubes
    assert f"{scores['difference']:+.2f}" in done.stdout and "sign differs" in done.stdout
    # One file, of the kind that its columns say; or that the user says.
    for word, part in (
        (other / "detections.parquet", "frame"),
        (other / "tubes.parquet", "video"),
        (f"detections={other / 'detections.parquet'}", "frame"),
    ):
        done = call(*words, "--against", word)
        assert done.returncode == 0, done.stderr
        found = json.loads((dump / "numbers.json").read_text())["against"]
        assert list(found) == [f"{part}_map"]


def test_precision_recall_and_persons(call: Run, dump: Path) -> None:
    words = [*arguments(dump), "--json", dump / "numbers.json"]
    done = call(*words, "--precision-recall", 0.5, "--protocol", "all")
    assert done.returncode == 0, done.stderr
    numbers = json.loads((dump / "numbers.json").read_text())
    for name in ("act", "road"):
        best = numbers[name]["precision_recall"]["frame"]["best"]
        assert f"best F1 {best['threshold']:.4f}" in done.stdout
        assert f"{best['f1']:.2f}" in done.stdout
    refused = call(*words, "--precision-recall", 0.4)
    assert refused.returncode == 2 and "add it with --frame-iou" in refused.stderr
    tubes = read_table(Tubes, dump / "groundtruth.parquet")
    write_table(replace(tubes, person=tubes.tube.astype(np.int32) + 1), dump / "persons.parquet")
    refused = call(*words, "--persons", dump / "persons.parquet")
    assert refused.returncode == 2 and "ground truth has no column person" in refused.stderr
    shutil.copy(dump / "persons.parquet", dump / "groundtruth.parquet")
    done = call(*words, "--persons", dump / "persons.parquet")
    assert done.returncode == 0, done.stderr
    persons = json.loads((dump / "numbers.json").read_text())["persons"]
    assert set(persons.values()) == {100.0} and "HOTA 100.00" in done.stdout
    alone = call(*arguments(dump)[:3], "--persons", dump / "persons.parquet")
    assert alone.returncode == 0 and "IDF1 100.00" in alone.stdout, alone.stderr


def test_what_against_cannot_be(call: Run, dump: Path) -> None:
    words = arguments(dump)
    detections, tubes = dump / "detections.parquet", dump / "tubes.parquet"
    (dump / "boxes.pkl").write_bytes(pickle.dumps([]))
    for extra, message in (
        ([detections, f"detections={detections}"], "are both detections; give one"),
        ([dump / "boxes.pkl"], "write detections="),
        ([dump / "nothing.csv"], "not found"),
    ):
        done = call(*words, "--against", *extra)
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert done.stderr.count("\n") == 1
    only = call(*words[:-2], "--against", tubes)
    assert only.returncode == 2 and "are tubes; give --tubes to compare" in only.stderr


def test_help_needs_no_heavy_library() -> None:
    code = (
        "import sys\nfrom actiontubes.tools.main import main\n"
        "try: main(['evaluate', '--help'])\nexcept SystemExit: pass\n"
        "print([name for name in ('torch', 'cv2', 'pyarrow', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--ground-truth" in done.stdout


def test_no_chart_library_without_a_report(dump: Path) -> None:
    code = (
        "import sys\nfrom actiontubes.tools.main import main\n"
        f"assert main({[str(word) for word in arguments(dump)]}) == 0\n"
        "print([name for name in ('matplotlib', 'jinja2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "words",
    [
        ["--method", "act"],
        ["--method", "act", "--preset", "moc"],
        ["--method", "viterbi", "--trim", "two-label"],
        ["--method", "online", "--choices", "gap=5", "score_top=none"],
    ],
)
def test_link(call: Run, dump: Path, words: list[str]) -> None:
    done = call(
        "link", "--detections", dump / "detections.parquet", "--out", dump / "o.csv", *words
    )
    assert done.returncode == 0, done.stderr
    tubes = read_table(Tubes, dump / "o.csv")
    assert f"{len(np.unique(tubes.tube))} tubes" in done.stdout
    scored = call(*arguments(dump)[:-1], dump / "o.csv")
    assert scored.returncode == 0 and "video-mAP" in scored.stdout


def test_link_subarray(call: Run, dump: Path) -> None:
    words = ["link", "--detections", dump / "detections.parquet", "--out", dump / "o.parquet",
             "--method", "viterbi", "--trim", "subarray"]  # fmt: skip
    assert "needs --ground-truth" in call(*words).stderr
    done = call(*words, "--ground-truth", dump / "groundtruth.parquet")
    assert done.returncode == 0, done.stderr
    trimmed = read_table(Tubes, dump / "o.parquet")
    assert call(*words[:-2]).returncode == 0
    whole = read_table(Tubes, dump / "o.parquet")
    assert 0 < len(trimmed) < len(whole)


def test_link_of_an_ava_file(call: Run, tmp_path: Path) -> None:
    """Key frames a second apart, boxes as fractions: two people side by side are two tubes."""
    lines = [
        f"vid,{second:04d},{x:.1f},0.1,{x + 0.1:.1f},0.9,12,0.5"
        for second in range(902, 922)
        for x in (0.1, 0.3)
    ]
    (tmp_path / "found.csv").write_text("\n".join(lines))
    done = call("link", "--detections", tmp_path / "found.csv", "--out", tmp_path / "t.csv")
    assert done.returncode == 0, done.stderr
    tubes = read_table(Tubes, tmp_path / "t.csv")
    assert tubes.frame.tolist() == [*range(902, 922)] * 2
    assert {tuple(row) for row in tubes.boxes[:20].tolist()} in (
        {(0.1, 0.1, 0.2, 0.9)}, {(0.3, 0.1, 0.4, 0.9)},
    )  # fmt: skip


def test_link_knows_a_new_linker_by_name(call: Run, dump: Path, monkeypatch) -> None:
    new = partial(make_greedy_linker, GreedyConfig(min_length=1, min_score=0.0))
    monkeypatch.setitem(LINKERS, "short", new)
    words = ["link", "--detections", dump / "detections.parquet", "--out", dump / "o.csv"]
    done = call(*words, "--method", "short")
    assert done.returncode == 0, done.stderr
    lengths = np.unique(read_table(Tubes, dump / "o.csv").tube, return_counts=True)[1]
    assert lengths.min() == 1
    done = call(*words, "--method", "shorter")
    assert done.returncode == 2 and "did you mean short?" in done.stderr


def test_link_of_ucf101_24(run: Run, shared: Shared, tmp_path: Path) -> None:
    detections = shared("reference/ucf101-24.detections.parquet")
    done = run(
        "link", "--detections", detections, "--method", "act", "--out", tmp_path / "t.parquet"
    )
    assert done.returncode == 0, done.stderr
    assert "2601 tubes, 191226 boxes" in done.stdout


def test_prepare(call: Run, shared: Shared, tmp_path: Path) -> None:
    shutil.copy(shared("jhmdb/JHMDB-GT.pkl"), tmp_path)
    done = call("prepare", "jhmdb", "--root", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "928 videos, 31852 boxes" in done.stdout
    assert "missing: " in done.stderr and "Rename_Images" in done.stderr
    scored = call(
        "evaluate",
        *("--ground-truth", tmp_path, "--split", 1),
        *("--detections", shared("reference/jhmdb.detections.parquet")),
    )
    assert "77.42" in scored.stdout, scored.stderr
    nothing = call("prepare", "ucf101-24", "--root", tmp_path)
    assert nothing.returncode == 2 and "pyannot.pkl" in nothing.stderr


def test_link_moc_tubelets(call: Run, tmp_path: Path) -> None:
    """Tubelets of 7 frames from 20 start frames: one tube over all 26."""
    rows = np.array([[1, 2, 3, 4, 5]], np.float32)
    content = {
        "labels": ["run"],
        "gttubes": {"run/a": {0: [rows]}},
        "nframes": {"run/a": 26},
        "resolution": {"run/a": (240, 320)},
        "train_videos": [[]],
        "test_videos": [["run/a"]],
    }
    (tmp_path / "gt.pkl").write_bytes(pickle.dumps(content))
    (tmp_path / "moc/run/a").mkdir(parents=True)
    tubelet = np.array([[*([10, 20, 30, 40] * 7), 0.5]], np.float32)
    for frame in range(1, 21):
        file = tmp_path / f"moc/run/a/{frame:05d}.pkl"
        file.write_bytes(pickle.dumps({1: tubelet}))
    words = ["link", "--detections", tmp_path / "moc", "--out", tmp_path / "o.csv"]
    words += ["--preset", "moc"]
    assert "give --ground-truth to name" in call(*words).stderr
    done = call(*words, "--ground-truth", tmp_path / "gt.pkl")
    assert done.returncode == 0, done.stderr
    tubes = read_table(Tubes, tmp_path / "o.csv")
    assert tubes.frame.tolist() == list(range(26))
    assert set(map(tuple, tubes.boxes.tolist())) == {(10, 20, 30, 40)}


def test_coco_files_do_not_replace_those_that_are_read(tmp_path: Path, capsys) -> None:
    from actiontubes.tools.main import main

    truth, results = tmp_path / "truth.csv", tmp_path / "results.json"
    truth.write_text("video,frame,label,x1,y1,x2,y2,tube\na,0,run,1,2,30,40,0\n")
    results.write_text("[]")
    words = ["evaluate", "--ground-truth", truth, "--detections", results, "--coco", tmp_path]
    assert main([*map(str, words)]) == 2
    assert "would replace" in capsys.readouterr().err and results.read_text() == "[]"
