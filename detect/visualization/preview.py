"""A page of sample frames of a data set with their boxes, to look at before training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...datasets.clips.detection_set import DetectionSet
from ...datasets.video.media import read_frame
from ..evaluation.worst_examples import WorstExample
from . import plots
from .page import Section, write_page
from .report_examples import draw_example

_PER_CLASS = 6


def write_preview(
    folder: Path, sets: Sequence[DetectionSet], title: str, lines: Sequence[str] = ()
) -> Path:
    """Writes index.html with sample frames of each class, and returns its path.

    Args:
        folder: created if necessary.
        sets: the parts of a data set, with the same labels.
        title: at the top of the page.
        lines: text on the data set, such as of `summarize_sets`.
    """
    from tqdm import tqdm

    sections = [Section("The data set", table=(("",), [(line,) for line in lines if line]))]
    for code, label in enumerate(tqdm(sets[0].labels, "drawing", unit="class", delay=2)):
        examples = [each for part in sets for each in _examples(part, code)]
        images = []
        for part, example in examples[:_PER_CLASS]:
            row = part.names.index(example.video)
            frame = read_frame(part.media[row], example.frame)
            if frame is not None:
                size = int(part.width[row]), int(part.height[row])
                images.append(draw_example(frame, example, size, (plots.GREEN, plots.ORANGE)))
        text = "Solid: a person who does this; dashed: other boxes of the frame."
        sections.append(Section(label, text, images=images))
    return write_page(folder / "index.html", title, "Sample frames with their boxes", sections)


def _examples(part: DetectionSet, code: int) -> Iterator[tuple[DetectionSet, WorstExample]]:
    """The middle boxes of stretches of a class, spread over all of them."""
    tubes = part.tubes
    numbers = np.unique(tubes.tube[tubes.label == code])
    places = np.linspace(0, len(numbers) - 1, min(len(numbers), _PER_CLASS)).round().astype(int)
    for number in numbers[places] if len(numbers) else ():
        rows = np.flatnonzero(tubes.tube == number)
        rows = rows[np.argsort(tubes.frame[rows], kind="stable")]
        row = rows[len(rows) // 2]
        beside = (tubes.video == tubes.video[row]) & (tubes.frame == tubes.frame[row])
        beside &= (tubes.boxes != tubes.boxes[row]).any(axis=1)
        person = "" if tubes.person is None else f"person {tubes.person[row]}, "
        first, last = tubes.frame[rows[0]], tubes.frame[rows[-1]]
        yield part, WorstExample(
            video=part.names[tubes.video[row]], frame=int(tubes.frame[row]),
            title=part.labels[code], error=f"{person}frames {first} to {last}",
            box=tubes.boxes[row], other_boxes=tubes.boxes[beside],
        )  # fmt: skip
