"""The page of results: what it says, and what a browser does with it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from actiontubes.datasets.table_io import write_table
from actiontubes.datasets.table_writer import OUTPUT_FILES
from actiontubes.datasets.tables import Actions, Tracks, make_videos
from actiontubes.datasets.video.writer import open_video_writer
from actiontubes.detect.visualization.results_page import (
    find_spans,
    read_spans,
    write_folder_page,
    write_results_page,
)

EVIL = "<script>document.title='x'</script>"
LABELS = ("juggling", "resting", EVIL)
ROWS = (
    # video, person, label, start, end, first frame, last frame, score
    (0, 1, 0, 0.0, 2.0, 0, 19, 0.9),
    (0, 1, 1, 2.0, 4.0, 20, 39, 0.6),
    (0, 2, 0, 1.0, 3.0, 10, 29, 0.5),
    (0, 2, 2, 2.0, 4.0, 20, 39, 0.4),
    (1, 1, 1, 0.5, 1.5, 5, 14, 0.3),
)
NAMES = ("first", f"{EVIL} & 'two'")


def make_actions(rows: Any = ROWS, names: tuple[str, ...] = NAMES) -> Actions:
    columns = [np.array(column) for column in zip(*rows)] or [np.empty(0)] * 8
    types = [np.int32] * 3 + [np.float64] * 2 + [np.int32] * 2 + [np.float64]
    columns = [column.astype(each) for column, each in zip(columns, types, strict=True)]
    return Actions(*columns, video_names=names, label_names=LABELS)


def make_tracks(rows: Any, names: tuple[str, ...] = NAMES) -> Tracks:
    """Rows of video, person, first and last frame."""
    spans = [(video, person, frame) for video, person, first, last in rows
             for frame in range(first, last + 1)]  # fmt: skip
    video, person, frame = np.array(spans, np.int32).reshape(-1, 3).T
    return Tracks(
        video=video, person=person, frame=frame, score=np.ones(len(video)),
        boxes=np.zeros((len(video), 4)), video_names=names,
    )  # fmt: skip


TRACKS = make_tracks([(0, 1, 0, 39), (0, 2, 10, 39), (0, 7, 0, 4), (0, 7, 30, 39), (1, 1, 0, 19)])
VIDEOS = make_videos(NAMES, [40, 20], 64, 48, 10.0)


def read_data(page: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def write_video(path: Path, num_frames: int = 40, fps: float = 10) -> Path:
    with open_video_writer(path, fps) as writer:
        for number in range(num_frames):
            writer.write(np.full((48, 64, 3), 5 * number, np.uint8))
    return path


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    media = {"first": write_video(folder / "first: 100% #1?.tubes.mp4")}
    return write_results_page(folder, VIDEOS, make_actions(), find_spans(TRACKS), media)


def test_what_the_page_holds(page: Path) -> None:
    data = read_data(page)
    first, second = data["videos"]
    assert (first["name"], second["name"]) == NAMES
    assert first["source"] == "./first%3A%20100%25%20%231%3F.tubes.mp4" and second["source"] is None
    assert (first["unit"], first["length"], second["length"]) == ("s", 4.0, 2.0)
    assert [(p["person"], p["lanes"], p["seen"]) for p in first["people"]] == [
        (1, 1, [[0.0, 4.0]]), (2, 2, [[1.0, 4.0]]), (7, 0, [[0.0, 0.5], [3.0, 4.0]]),
    ]  # fmt: skip
    assert data["labels"] == [EVIL, "juggling", "resting"]
    # Row of the person, label, start, end, score, lane; by start.
    assert first["actions"] == [
        [0, 1, 0.0, 2.0, 0.9, 0], [1, 1, 1.0, 3.0, 0.5, 0],
        [0, 2, 2.0, 4.0, 0.6, 0], [1, 0, 2.0, 4.0, 0.4, 1],
    ]  # fmt: skip
    text = page.read_text(encoding="utf-8")
    assert "2 videos, 4 people, 5 actions." in text and 'href="actions.csv"' in text
    assert not re.search(r"https?://|//cdn|<link|@import", text)
    # The page's own two scripts alone.
    assert text.count("<script") == 2


def test_people_of_a_variable_rate(tmp_path: Path) -> None:
    """Where an action tells the times of its frames, people are seen at these times."""
    actions = make_actions([(0, 1, 0, 3.0, 3.5, 10, 19, 0.9)], ("first",))
    seen = find_spans(make_tracks([(0, 1, 10, 19), (0, 2, 0, 14)], ("first",)))
    videos = make_videos(["first"], 40, 64, 48, 10.0)
    (video,) = read_data(write_results_page(tmp_path, videos, actions, seen, {}))["videos"]
    assert [each["seen"] for each in video["people"]] == [[[3.0, 3.5]], [[0.0, 3.25]]]


def test_without_a_frame_rate_frames_count(tmp_path: Path) -> None:
    rows = [(0, 1, 0, np.nan, np.nan, 0, 19, 0.9)]
    videos = make_videos(["first"], 40, 64, 48)
    spans = find_spans(make_tracks([(0, 1, 0, 39)], ("first",)))
    page = write_results_page(tmp_path, videos, make_actions(rows, ("first",)), spans, {})
    (video,) = read_data(page)["videos"]
    assert (video["unit"], video["length"]) == ("frame", 40)
    assert video["actions"][0][2:4] == [0, 20] and video["people"][0]["seen"] == [[0, 40]]


def test_nothing_was_found(tmp_path: Path) -> None:
    spans = find_spans(make_tracks([]))
    data = read_data(write_results_page(tmp_path, VIDEOS, make_actions([]), spans, {}))
    assert [(each["people"], each["actions"]) for each in data["videos"]] == [([], [])] * 2


@pytest.mark.parametrize("rows_at_once", [64, 1 << 18])
def test_from_files(rows_at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same page, in parts of any size; a video that is only in tracks is passed over."""
    monkeypatch.setattr("actiontubes.detect.visualization.results_page._ROWS_AT_ONCE", rows_at_once)
    shuffled = make_tracks([(1, 1, 0, 19), (0, 7, 30, 39), (0, 2, 10, 39), (0, 7, 0, 4),
                            (2, 1, 0, 3), (0, 1, 0, 39)], (*NAMES, "other"))  # fmt: skip
    write_table(shuffled, tmp_path / OUTPUT_FILES.tracks)
    found, expected = read_spans(tmp_path / OUTPUT_FILES.tracks, NAMES), find_spans(TRACKS)
    for name in ("video", "person", "first_frame", "last_frame"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    write_table(make_actions(), tmp_path / OUTPUT_FILES.actions)
    write_table(VIDEOS, tmp_path / OUTPUT_FILES.videos)
    write_results_page(tmp_path / "a", VIDEOS, make_actions(), expected, {})
    data = read_data(write_folder_page(tmp_path, {}))
    assert data == read_data(tmp_path / "a" / "index.html")


def wait(browser: Any, condition: str) -> None:
    """Until a condition of the page holds."""
    browser.run(
        "new Promise((resolve) => { const check = () => "
        f"({condition}) ? resolve(true) : setTimeout(check, 20); check(); }})"
    )


def open_page(browser: Any, page: Path, **size: int) -> None:
    """Opens a page of results and waits until its first timelines are drawn."""
    browser.open(page.as_uri(), **size)
    wait(browser, "document.querySelector('.axis')")


def test_a_click_on_a_bar_plays_from_there(browser: Any, page: Path) -> None:
    open_page(browser, page)
    bars = "[...document.querySelectorAll('.bar')]"
    assert browser.run(f"{bars}.map((bar) => bar.textContent)") == [
        "juggling", "resting", "juggling", EVIL, "resting",
    ]  # fmt: skip
    wait(browser, "document.querySelector('video').readyState > 1")
    browser.run("var media = document.querySelector('video'); media.playbackRate = 0.1; 0")
    for bar, start in ((2, 1.0), (1, 2.0), (0, 0.0)):
        browser.run(f"{bars}[{bar}].click()")
        wait(browser, "!media.seeking")
        assert start < browser.run("media.currentTime") < start + 0.4
        assert browser.run("media.paused") is False
    # A place in the row, three quarters of the video; and a row of the table.
    browser.run("media.pause(); const lanes = document.querySelector('.lanes');"
                "const box = lanes.getBoundingClientRect(); lanes.dispatchEvent(new MouseEvent("
                "'click', {clientX: box.left + 0.75 * box.width})); 0")  # fmt: skip
    assert 2.95 < browser.run("media.currentTime") < 3.2
    browser.run("document.querySelector('tbody tr').click()")
    assert browser.run("media.currentTime") < 0.2
    assert browser.errors() == []


def test_names_stay_text(browser: Any, page: Path) -> None:
    open_page(browser, page)
    assert browser.run("document.title") == "Who does what"
    assert browser.run("document.querySelectorAll('script').length") == 2
    assert browser.run("document.querySelectorAll('h2')[1].textContent") == NAMES[1]
    assert f"{EVIL} (1)" in browser.run(
        "[...document.querySelectorAll('option')].map((option) => option.textContent)"
    )


def test_filters_and_sorting(browser: Any, page: Path) -> None:
    open_page(browser, page)

    def table() -> list[list[str]]:
        return browser.run("[...document.querySelectorAll('tbody tr')].map("
                           "(row) => [...row.cells].map((cell) => cell.textContent))")  # fmt: skip

    def shown(selector: str) -> int:
        return browser.run(f"[...document.querySelectorAll('{selector}')].filter("
                           "(each) => each.offsetParent).length")  # fmt: skip

    def choose(name: str, value: object) -> None:
        browser.run(
            f"document.getElementById('{name}').value = {value};"
            "document.querySelector('form').dispatchEvent(new Event('input'));"
        )

    assert [row[5] for row in table()] == ["0.90", "0.50", "0.60", "0.40", "0.30"]
    assert table()[0] == ["first", "1", "juggling", "0.00 s", "2.00 s", "0.90"]
    assert (shown(".video"), shown(".row"), shown(".bar")) == (2, 4, 5)
    browser.run("document.querySelectorAll('th button')[5].click()")
    assert [row[5] for row in table()] == ["0.30", "0.40", "0.50", "0.60", "0.90"]
    browser.run("document.querySelectorAll('th button')[5].click()")
    assert [row[5] for row in table()] == ["0.90", "0.60", "0.50", "0.40", "0.30"]
    choose("label", 1)
    assert [row[2] for row in table()] == ["juggling"] * 2
    # Person 1 and 2, and person 7, who does nothing that has a name.
    assert (shown(".video"), shown(".row"), shown(".bar")) == (1, 3, 2)
    browser.run("document.getElementById('unnamed').click()")
    assert shown(".row") == 2
    choose("score", 0.55)
    assert (shown(".video"), shown(".row"), shown(".bar")) == (1, 1, 1)
    assert "1 of 5 actions." in browser.run("document.body.textContent")
    assert browser.errors() == []


def test_a_large_run_opens(browser: Any, tmp_path: Path) -> None:
    """600 videos and 6000 actions: those near the window are drawn, and others when they come."""
    count = 600
    names = tuple(f"video {number}" for number in range(count))
    rows = [(v, 1 + n % 3, n % 2, n / 10, n / 10 + 0.1, n, n, 0.5)
            for v in range(count) for n in range(10)]  # fmt: skip
    videos = make_videos(names, 40, 64, 48, 10.0)
    spans = find_spans(make_tracks([(v, 1, 0, 9) for v in range(count)], names))
    media = dict.fromkeys(names, write_video(tmp_path / "one.mp4"))
    page = write_results_page(tmp_path, videos, make_actions(rows, names), spans, media)
    open_page(browser, page)
    assert browser.run("document.querySelectorAll('section.video').length") == count
    assert 1 <= browser.run("document.querySelectorAll('video').length") < 40
    assert browser.run("document.querySelectorAll('tbody tr').length") == 200
    browser.run("document.getElementById('more').click()")
    assert browser.run("document.querySelectorAll('tbody tr').length") == 400
    last = "document.querySelectorAll('section.video')[599]"
    assert browser.run(f"{last}.querySelectorAll('.bar').length") == 0
    browser.run(f"{last}.scrollIntoView()")
    wait(browser, f"{last}.querySelectorAll('.bar').length === 10")
    # Those that are far away are given back.
    first = "document.querySelectorAll('section.video')[0]"
    wait(browser, f"{first}.querySelectorAll('video').length === 0")
    assert browser.errors() == []


def test_it_looks_right(browser: Any, page: Path) -> None:
    open_page(browser, page, width=1000, height=700)
    image = browser.screenshot()
    assert image.shape == (700, 1000, 3)
    # Bars in the colors of persons 1 and 2; nothing sticks out to the right.
    for color in ((86, 180, 233), (0, 158, 115)):
        assert (np.abs(image.astype(int) - color).max(axis=2) <= 8).sum() > 1000
    assert np.ptp(image[:, -8:].reshape(-1, 3), axis=0).max() == 0
