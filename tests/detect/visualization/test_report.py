"""The report: self-contained, and what a browser shows of it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from actiontubes.datasets.formats.registry import read_ground_truth
from actiontubes.datasets.table_io import read_table
from actiontubes.datasets.tables import Detections, Tubes, Videos, select_rows
from actiontubes.datasets.video.media import locate_videos, read_frame
from actiontubes.detect.evaluation.align import align_to_ground_truth
from actiontubes.detect.evaluation.bootstrap import add_intervals, resample_videos
from actiontubes.detect.evaluation.evaluate import evaluate_tables
from actiontubes.detect.evaluation.protocols import PROTOCOLS
from actiontubes.detect.evaluation.score_thresholds import score_curve
from actiontubes.detect.evaluation.worst_examples import WorstExample
from actiontubes.detect.experiments.benchmark_evaluation import synthetic_detections
from actiontubes.detect.linking.linker import link
from actiontubes.detect.visualization.plots import (
    BLUE,
    GREEN,
    ORANGE,
)
from actiontubes.detect.visualization.report import write_report
from actiontubes.detect.visualization.report_examples import draw_example

Shared = Callable[[str], Path]


class Balanced(HTMLParser):
    """Fails on tags that are not closed."""

    VOID = ("meta", "img", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def report_with_tubes(
    folder: Path,
    truth: Tubes,
    detections: Detections,
    media: Path | None = None,
    videos: Videos | None = None,
) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return write_report(
            folder, truth, PROTOCOLS[:1], detections, link(detections), media, videos
        )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    truth, detections = synthetic_detections(0.05)
    return report_with_tubes(tmp_path_factory.mktemp("report"), truth, detections)


@pytest.fixture(scope="module")
def page_with_frames(tmp_path_factory: pytest.TempPathFactory, shared: Shared) -> Path:
    """The real clips, whose .mp4 are larger than the 320 x 240 that the boxes mean."""
    truth, videos = read_ground_truth(
        shared("ucf101-24/pyannot.pkl"), videos=shared("ucf101-24/testlist01.txt")
    )
    media = shared("ucf101-24/videos")
    paths = locate_videos(media, truth.video_names)
    available = [truth.video_names.index(name) for name in paths]
    boxes = read_table(Detections, shared("reference/ucf101-24.detections.parquet"))
    boxes = align_to_ground_truth(boxes, truth, "detections", videos)
    truth = select_rows(truth, np.isin(truth.video, available))
    boxes = select_rows(boxes, np.isin(boxes.video, available))
    return report_with_tubes(tmp_path_factory.mktemp("frames"), truth, boxes, media, videos)


def screenshot(browser: Any, page: Path, height: int) -> np.ndarray:
    """(H, W, 3) RGB of the page."""
    browser.open(page.as_uri(), 1040, height)
    return browser.screenshot()


def count_pixels(image: np.ndarray, color: str) -> int:
    expected = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(image.astype(int) - expected).max(axis=2) <= 8).sum())


@pytest.mark.parametrize("name", ["page", "page_with_frames"])
def test_self_contained_and_well_formed(name: str, request: pytest.FixtureRequest) -> None:
    text = request.getfixturevalue(name).read_text(encoding="utf-8")
    assert not re.search(r"https?://|//cdn|<script|<link|@import", text)
    links = re.findall(r'(?:href|src)="([^"]*)"', text)
    # Frames, and what a plot draws several times.
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in links)
    assert {link[1:] for link in links if link[0] == "#"} <= set(re.findall(r' id="(.*?)"', text))
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert not re.search(r"\b(nan|NaN|None|inf)\b", re.sub(r"base64,[^\"]*", "", text))


def test_sections_are_there(page: Path) -> None:
    titles = re.findall(r"<h2>(.*?)</h2>", page.read_text(encoding="utf-8"))
    assert titles == [
        "Protocols side by side",
        "Average precision by class, IoU 0.5",
        "Frame errors by class, IoU 0.5",
        "Tube errors by class, IoU 0.5",
        "mAP against IoU threshold",
        "Precision and recall by class, IoU 0.5",
        "The score threshold to take, IoU 0.5",
        "Confusion of classes, IoU 0.5",
        "From detections to tubes",
        "Truth against tubes on a timeline, IoU 0.5",
        "Worst false positives",
        "Worst misses",
    ]


def test_a_browser_shows_it(browser: Any, page: Path) -> None:
    image = screenshot(browser, page, 5200)
    assert image.shape[1] == 1040
    # Bars of frame and video AP, and the AP's share of the error bars.
    assert count_pixels(image, BLUE) > 20_000
    assert count_pixels(image, ORANGE) > 3_000
    assert count_pixels(image, GREEN) > 20_000
    # Nothing sticks out to the right: the page's margin there is empty.
    assert np.ptp(image[:, -15:].reshape(-1, 3), axis=0).max() == 0
    # No large gap from the top of the page to its last section.
    text = (image.min(axis=2) < 120).any(axis=1)
    assert np.diff(np.flatnonzero(text)).max() < 150


def test_a_browser_shows_the_frames(browser: Any, page_with_frames: Path) -> None:
    text = page_with_frames.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg") >= 10
    image = screenshot(browser, page_with_frames, 12_000)
    # Photographs have many colors, plots have few.
    codes = image.astype(np.int32) // 8 @ np.array([1024, 32, 1], np.int32)
    assert np.count_nonzero(np.bincount(codes.reshape(-1))) > 2000


def test_boxes_are_scaled_to_the_frames(page_with_frames: Path) -> None:
    """Boxes in a 340 x 256 frame of a 320 x 240 video: none lies outside."""
    text = page_with_frames.read_text(encoding="utf-8")
    number = r'"(-?[\d.]+)"'
    rectangle = f"<rect x={number} y={number} width={number} height={number} fill=.none"
    frames = re.findall(r'<svg viewBox="0 0 (\d+) (\d+)"><image(.*?)</svg>', text, re.DOTALL)
    assert len(frames) >= 10
    for width, height, body in frames:
        assert re.search(rectangle, body)
        for x, y, w, h in re.findall(rectangle, body):
            assert float(x) >= -20 and float(x) + float(w) <= float(width) + 20
            assert float(y) >= -20 and float(y) + float(h) <= float(height) + 20
    assert 'viewBox="0 0 340 256"' in text


def test_frames_as_numbered_images(tmp_path: Path) -> None:
    folder = tmp_path / "Frames" / "golf" / "one.two"
    folder.mkdir(parents=True)
    for number in (1, 2, 3):
        color = (85 * number, 0, 0)
        cv2.imwrite(str(folder / f"{number:05d}.png"), np.full((4, 6, 3), color, np.uint8))
    paths = locate_videos(tmp_path, ["golf/one.two", "golf/three"])
    assert paths == {"golf/one.two": folder}
    frame = read_frame(folder, 2)
    assert frame is not None and frame[0, 0].tolist() == [0, 0, 255]
    assert read_frame(folder, 3) is None


def test_the_page_has_the_numbers(tmp_path: Path) -> None:
    truth, detections = synthetic_detections(0.03)
    [main] = evaluate_tables(truth, PROTOCOLS[:1], detections)
    text = write_report(tmp_path, truth, PROTOCOLS[:1], detections).read_text(encoding="utf-8")
    half = next(each for each in main.frame_scores if each.threshold == 0.5)
    assert half.mean is not None
    assert f"<b>{half.mean:.1f}</b><span>frame-mAP @ 0.5</span>" in text
    assert f"<td>frame-mAP @ 0.5</td><td>{half.mean:.2f}</td>" in text
    # At each bar of a class, and in the parts of its error bar.
    texts = [unescape(each) for each in re.findall(r"<text[^>]*>(.*?)</text>", text, re.S)]
    for label, ap in half.ap.items():
        boxes = int((truth.label == truth.label_names.index(label)).sum())
        instances = len(np.unique(truth.tube[truth.label == truth.label_names.index(label)]))
        assert f"{label} ({boxes:,}, {instances:,})" in texts
        assert ap is not None and f"{ap:.1f}" in texts
        missed = main.frame_errors[label]["missed"]
        assert missed < 5 or f"{missed:.1f}" in texts


def test_head_and_the_other_run(tmp_path: Path) -> None:
    truth, detections = synthetic_detections(0.03)
    worse = replace(detections, score=np.random.default_rng(0).random(len(detections)))
    [this] = evaluate_tables(truth, PROTOCOLS[:1], detections)
    [other] = evaluate_tables(truth, PROTOCOLS[:1], worse)
    draws = resample_videos(len(truth.video_names), 20)
    [this] = add_intervals([this], draws, [other])
    page = write_report(
        tmp_path, truth, PROTOCOLS[:1], detections, runs=(this, other),
        details=[("command", "actiontubes evaluate <it>"), ("date", "2026-11-28")],
    )  # fmt: skip
    text = page.read_text(encoding="utf-8")
    assert "<dt>command</dt><dd>actiontubes evaluate &lt;it&gt;</dd>" in text
    assert "<dd>2026-11-28</dd>" in text and "Beside the other run" in text
    found = this.differences["frame"]["0.5"]
    cells = (f"{this.frame_map[0.5]:.2f}", f"{found.other:.2f}", f"{found.difference:+.2f}")
    assert "<td>frame-mAP @ 0.5</td>" + "".join(f"<td>{cell}</td>" for cell in cells) in text
    assert "frame AP, other run" in text
    best = score_curve(this.matches["frame"], 0.5).best()
    assert best is not None and f"for detections take {best.threshold:.3f}" in text


def test_timelines_are_bars(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    bars = re.findall(r'<i(?: class="found")? style="left:([\d.]+)%;width:([\d.]+)%', text)
    assert len(bars) > 40
    assert all(float(left) >= 0 and float(left) + float(width) < 100.02 for left, width in bars)


def test_moment_of_a_frame() -> None:
    example = WorstExample("v", 1873, "run 0.90", "missed", np.zeros(4), np.zeros((0, 4)))
    frame = np.zeros((4, 6, 3), np.uint8)
    assert draw_example(frame, example, None, (BLUE, GREEN), 30.0)["moment"] == ", 1:02.4"
    assert draw_example(frame, example, None, (BLUE, GREEN))["moment"] == ""


def test_without_detections_or_tubes(tmp_path: Path) -> None:
    truth, detections = synthetic_detections(0.03)
    for boxes, tubes in ((detections, None), (None, link(detections))):
        page = write_report(tmp_path, truth, PROTOCOLS[:1], boxes, tubes)
        text = page.read_text(encoding="utf-8")
        assert ("Frame errors" in text) == (boxes is not None)
        assert ("Tube errors" in text) == (tubes is not None)
