"""One HTML page that shows where a detector fails; no script, no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from ...datasets.files import whole_file
from ...datasets.media import find_media, read_picture
from ...datasets.tables import Detections, Tubes, Videos
from .charts import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    grouped_bars,
    legend,
    lines,
    recall_panel,
    stacked_bars,
)
from .errors import KINDS, mean_errors
from .evaluate import (
    FRAME_THRESHOLDS,
    VIDEO_THRESHOLDS,
    Evaluation,
    coco_average,
    evaluate,
)
from .frames import ClassScores, frame_overlaps
from .pictures import Example, picture, worst_false_positives, worst_misses
from .protocols import PROTOCOLS, Protocol

Array = np.ndarray

_COLOURS = dict(zip(KINDS, (GREEN, ORANGE, PURPLE, BLUE, SKY, GREY)))
_MEANING = (
    "AP, the false positives by kind and what was never found add to 100. Localisation: the right "
    "class is there, but the box is off or a duplicate. Classification: on an action of another "
    "class. Timing: the video has the action, but not then. Other: elsewhere."
)
_SHOWN = 12


def report_on(
    folder: Path,
    ground_truth: Tubes,
    chosen: Sequence[Protocol] = PROTOCOLS[:1],
    detections: Detections | None = None,
    tubes: Tubes | None = None,
    media: Path | None = None,
    videos: Videos | None = None,
    more: Mapping[str, tuple[str, str]] | None = None,
) -> Path:
    """Evaluates by all protocols, the chosen ones first, at all thresholds, and writes the report.

    Args:
        others: see `write_report`.
    """
    rest = [each for each in PROTOCOLS if each.name not in {one.name for one in chosen}]
    dense = sorted({*FRAME_THRESHOLDS, *VIDEO_THRESHOLDS})
    results = evaluate(ground_truth, [*chosen, *rest], detections, tubes, dense, dense)
    return write_report(folder, ground_truth, results, detections, tubes, media, videos, more)


def write_report(
    folder: Path,
    ground_truth: Tubes,
    results: Sequence[Evaluation],
    detections: Detections | None = None,
    tubes: Tubes | None = None,
    media: Path | None = None,
    videos: Videos | None = None,
    more: Mapping[str, tuple[str, str]] | None = None,
) -> Path:
    """Writes index.html.

    Args:
        folder: made if need be.
        ground_truth: what was evaluated on.
        results: of the protocol to show first, then of others to set beside it.
        detections, tubes: what was evaluated, aligned.
        media: a folder with the videos or their frames, for pictures.
        videos: sizes that the boxes' pixels mean, where the media have others.
        more: sections after the first one: by title, HTML and a paragraph of text.

    Returns:
        the page's path.
    """
    main = results[0]
    sections = [
        _tiles(main),
        *[_section(title, html, text) for title, (html, text) in (more or {}).items()],
        _section(
            "Protocols side by side",
            _comparison(results),
            "The same detections and tubes by four public evaluators' rules, in percent. Compare "
            "numbers of one column only.",
        ),
        _section("Average precision by class, IoU 0.5", _class_bars(main)),
        _section("Errors of frames, IoU 0.5", _error_bars(main.frame_errors), _MEANING)
        if main.frame_errors
        else "",
        _section("Errors of tubes, IoU 0.5", _error_bars(main.video_errors), _MEANING)
        if main.video_errors
        else "",
        _section("mAP against IoU threshold", _threshold_lines(results)),
        _section(
            "Precision and recall by class, IoU 0.5",
            _recall_panels(main),
            "Recall across, precision up, both 0 to 1.",
        ),
    ]
    if detections is not None:
        sections.append(_examples(ground_truth, detections, main, media, videos))
    boxes = "" if detections is None else f", {len(detections):,} detections"
    tube_count = "" if tubes is None else f", {len(np.unique(tubes.tube)):,} tubes"
    page = Template(files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    text = page.substitute(
        title="Action detection report",
        subtitle=escape(
            f"Protocol {main.protocol.name}. {len(ground_truth.video_names):,} videos with "
            f"{len(np.unique(ground_truth.tube)):,} action instances of "
            f"{len(ground_truth.label_names)} classes, {len(ground_truth):,} boxes"
            f"{boxes}{tube_count}."
        ),
        body="\n".join(sections),
    )
    path = folder / "index.html"
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _section(title: str, content: str, text: str = "") -> str:
    paragraph = f"<p>{escape(text)}</p>" if text else ""
    return f"<section><h2>{escape(title)}</h2>{paragraph}{content}</section>"


def _tiles(main: Evaluation) -> str:
    averaged = coco_average(main.video)
    numbers = [
        ("frame-mAP @ 0.5", _at(main.frame, 0.5)),
        ("video-mAP @ 0.2", _at(main.video, 0.2)),
        ("video-mAP @ 0.5", _at(main.video, 0.5)),
        ("video-mAP @ 0.5:0.95", averaged),
    ]
    tiles = [
        f'<div class="tile"><b>{scores.mean:.1f}</b><span>{name}</span></div>'
        for name, scores in numbers
        if scores is not None and scores.mean is not None
    ]
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _comparison(results: Sequence[Evaluation]) -> str:
    head = "".join(
        f"<th{_chosen(i)}>{escape(each.protocol.name)}</th>" for i, each in enumerate(results)
    )
    rows = []
    for part, wanted in (("frame", (0.3, 0.5, 0.75)), ("video", (0.1, 0.2, 0.3, 0.5, 0.75))):
        all_scores = [getattr(each, part) for each in results]
        for threshold in wanted:
            at = [_at(scores, threshold) for scores in all_scores]
            if at[0] is not None:
                rows.append(_row(f"{part}-mAP @ {threshold:g}", at))
        averaged = [coco_average(scores) for scores in all_scores]
        if averaged[0] is not None:
            rows.append(_row(f"{part}-mAP @ 0.5:0.95", averaged))
    return f"<table><tr><th></th>{head}</tr>{''.join(rows)}</table>"


def _row(name: str, scores: Sequence[ClassScores | None]) -> str:
    cells = "".join(
        f"<td{_chosen(i)}>{'-' if each is None or each.mean is None else f'{each.mean:.2f}'}</td>"
        for i, each in enumerate(scores)
    )
    return f"<tr><td>{escape(name)}</td>{cells}</tr>"


def _chosen(column: int) -> str:
    return ' class="chosen"' if column == 0 else ""


def _class_bars(main: Evaluation) -> str:
    parts = {
        f"{name} AP": scores.ap
        for name, scores in (("frame", _at(main.frame, 0.5)), ("video", _at(main.video, 0.5)))
        if scores is not None
    }
    if not parts:
        return ""
    first = next(iter(parts.values()))
    order = sorted(first, key=lambda name: first[name] or 0.0, reverse=True)
    return grouped_bars({name: [ap[name] for ap in parts.values()] for name in order}, list(parts))


def _error_bars(by_class: dict[str, dict[str, float]]) -> str:
    order = sorted(by_class, key=lambda name: by_class[name]["ap"], reverse=True)
    rows: dict[str, Mapping[str, float | None]] = {"mean": mean_errors(by_class)}
    rows.update({name: by_class[name] for name in order})
    return stacked_bars(rows, _COLOURS)


def _threshold_lines(results: Sequence[Evaluation]) -> str:
    charts = []
    for part in ("frame", "video"):
        series = {}
        for each in results:
            scores = [one for one in getattr(each, part) if one.mean is not None]
            if scores:
                series[each.protocol.name] = (
                    np.array([one.threshold for one in scores]),
                    np.array([one.mean for one in scores]),
                )
        if series:
            charts.append(f"<div>{lines(series, 'IoU threshold', f'{part}-mAP')}</div>")
    return f'<div class="pair">{"".join(charts)}</div>'


def _recall_panels(main: Evaluation) -> str:
    parts = {
        name: scores.curves
        for name, scores in (("frame", _at(main.frame, 0.5)), ("video", _at(main.video, 0.5)))
        if scores is not None
    }
    labels = list(dict.fromkeys(label for curves in parts.values() for label in curves))
    panels = [
        recall_panel(label, {name: curves[label] for name, curves in parts.items()})
        for label in labels
    ]
    return legend(list(parts)) + f'<div class="panels">{"".join(panels)}</div>'


def _examples(
    ground_truth: Tubes,
    detections: Detections,
    main: Evaluation,
    media: Path | None,
    videos: Videos | None,
) -> str:
    """The worst mistakes: as pictures where there are any, else as a table."""
    names = ground_truth.video_names
    found = find_media(media, names) if media is not None else {}
    protocol, threshold = main.protocol, main.error_threshold
    overlaps = frame_overlaps(ground_truth, detections, [protocol], threshold)
    among = set(found) or set(names)
    examples = [
        find(ground_truth, protocol, threshold, overlaps, among, _SHOWN)
        for find in (worst_false_positives, worst_misses)
    ]
    sizes = {}
    if videos is not None:
        sizes = dict(zip(videos.video, zip(videos.width.tolist(), videos.height.tolist())))
    texts = (
        "Highest scores first, one a video and class. The detection is solid, ground truth dashed.",
        "Action instances found on the fewest frames. Ground truth is solid, detections of its "
        "class dashed.",
    )
    show = _pictures(found, sizes) if found else _example_table
    return "".join(
        _section(title, show(part), text)
        for title, part, text in zip(("Worst false positives", "Worst misses"), examples, texts)
        if part
    )


def _pictures(
    found: dict[str, Path], sizes: dict[str, tuple[int, int]]
) -> Callable[[Sequence[Example]], str]:
    def show(examples: Sequence[Example]) -> str:
        figures = []
        for example in examples:
            frame = read_picture(found[example.video], example.frame)
            if frame is None:
                continue
            height, width = frame.shape[:2]
            wide, high = sizes.get(example.video, (width, height))
            colours = (GREEN, RED) if example.missed else (RED, GREEN)
            image = picture(frame, example, (width / wide, height / high), colours)
            place = f"<small>{escape(example.video)}, frame {example.frame}</small>"
            text = f"<b>{escape(example.what)}</b>, {escape(example.why)}{place}"
            figures.append(f"<figure>{image}<figcaption>{text}</figcaption></figure>")
        return f'<div class="pictures">{"".join(figures)}</div>'

    return show


def _example_table(examples: Sequence[Example]) -> str:
    rows = "".join(
        f"<tr><td>{escape(each.what)}</td><td>{escape(each.why)}</td><td>{escape(each.video)}</td>"
        f"<td>{each.frame}</td></tr>"
        for each in examples
    )
    return f"<table><tr><th>class</th><th>kind</th><th>video</th><th>frame</th></tr>{rows}</table>"


def _at(scores: Sequence[ClassScores], threshold: float) -> ClassScores | None:
    return next((each for each in scores if each.threshold == threshold), None)
