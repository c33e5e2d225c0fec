"""Actions as they happen: when they begin and end, who does them, and where."""

from __future__ import annotations

import numpy as np
import pytest
from actiontubes.detect.linking.action_stream import (
    ActionEvent,
    ActionStream,
    FramePeople,
    StreamConfig,
)
from hypothesis import given, settings
from hypothesis import strategies as st

LABELS = ("walk", "run")
BOX = (10.0, 10.0, 30.0, 50.0)
RATE = 25.0


def people(*each: tuple[tuple[float, ...], dict[int, float]]) -> FramePeople:
    """From the box of each person and scores by label."""
    rows = [(row, label, score) for row, (_, scores) in enumerate(each)
            for label, score in scores.items()]  # fmt: skip
    row, label, probability = np.array(rows).reshape(-1, 3).T
    return FramePeople(
        np.array([box for box, _ in each]).reshape(-1, 4), np.ones(len(each)), row.astype(int),
        label.astype(int), probability,
    )  # fmt: skip


def run_scores(
    scores: list[dict[int, float]], stream: ActionStream, rate: float = RATE
) -> list[ActionEvent]:
    """Of one person who stands still."""
    events = []
    for number, each in enumerate(scores):
        events += stream.update(number, number / rate, people((BOX, each)))
    return events + stream.finish()


def short(events: list[ActionEvent]) -> list[tuple[str, int, float]]:
    return [(event.kind, event.label, round(event.seconds, 6)) for event in events]


def test_three_stretches() -> None:
    """Clear scores: each beginning and end is exactly that of the frames."""
    scores = [{}] * 25 + [{0: 0.9}] * 50 + [{}] * 25 + [{1: 0.8}] * 50 + [{0: 0.7}] * 50
    events = run_scores(scores, ActionStream(LABELS))
    assert short(events) == [
        ("begin", 0, 1.0), ("end", 0, 3.0), ("begin", 1, 4.0), ("end", 1, 6.0),
        ("begin", 0, 6.0), ("end", 0, 8.0),
    ]  # fmt: skip
    assert {event.person for event in events} == {1}
    assert [event.score for event in events] == pytest.approx([0.9, 0.9, 0.8, 0.8, 0.7, 0.7])
    assert all(event.box == BOX for event in events)


def test_events_come_soon() -> None:
    """Clear evidence begins and ends an action within `settle`."""
    stream = ActionStream(LABELS, StreamConfig(settle=0.4))
    told = {}
    for number in range(150):
        scores = {0: 0.99} if 50 <= number < 100 else {}
        for event in stream.update(number, number / RATE, people((BOX, scores))):
            told[event.kind] = number / RATE - event.seconds
    assert told == pytest.approx({"begin": 0.4, "end": 0.4}, abs=0.05)


def test_flicker_changes_nothing() -> None:
    """A frame or two that say something else; and a score that keeps crossing the threshold."""
    scores = [{0: 0.9}] * 100
    for number in (20, 21, 50, 77):
        scores[number] = {}
    assert short(run_scores(scores, ActionStream(LABELS))) == [
        ("begin", 0, 0.0), ("end", 0, 4.0),
    ]  # fmt: skip
    wavering = [{0: 0.45 if number % 2 else 0.35} for number in range(200)]
    assert run_scores(wavering, ActionStream(LABELS)) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=2), max_size=80), st.floats(2, 60))
def test_events_alternate(scores: list[list[float]], rate: float) -> None:
    """Whatever the scores: begin and end in turn, in the order of time, none longer than it was."""
    events = run_scores([dict(enumerate(each)) for each in scores], ActionStream(LABELS), rate)
    for label in range(2):
        mine = [event for event in events if event.label == label]
        assert [event.kind for event in mine] == ["begin", "end"] * (len(mine) // 2)
        times = [event.seconds for event in mine]
        assert times == sorted(times)
        assert all(0 <= each <= len(scores) / rate + 1e-9 for each in times)


def test_two_people_and_one_who_leaves() -> None:
    """Who is gone has ended what they did when they were seen last."""
    stream, other = ActionStream(LABELS), (100.0, 10.0, 130.0, 60.0)
    events = []
    for number in range(100):
        seen = [(BOX, {0: 0.9})] + [(other, {1: 0.9})] * (number < 50)
        events += stream.update(number, number / RATE, people(*seen))
        if number == 40:
            assert [(each.person, [a[0] for a in each.actions]) for each in stream.now] == [
                (1, [0]), (2, [1]),
            ]  # fmt: skip
    events += stream.finish()
    assert [(event.kind, event.person, round(event.seconds, 3)) for event in events] == [
        ("begin", 1, 0.0), ("begin", 2, 0.0), ("end", 2, 2.0), ("end", 1, 4.0),
    ]  # fmt: skip


def test_a_track_of_little_evidence_is_nobody() -> None:
    """Too few boxes, or boxes that are hardly people."""
    stream = ActionStream(LABELS)
    unlikely = people((BOX, {}))
    unlikely = FramePeople(unlikely.boxes, np.array([0.1]), unlikely.row, unlikely.label,
                           unlikely.probability)  # fmt: skip
    for number in range(30):
        stream.update(number, number / RATE, unlikely)
        assert stream.now == []
    stream.finish()
    for number in range(30, 36):
        stream.update(number, number / RATE, people((BOX, {})))
        assert len(stream.now) == (number >= 33)


def test_tubes_of_what_ended() -> None:
    stream = ActionStream(LABELS)
    run_scores([{}] * 25 + [{0: 0.9}] * 50 + [{}] * 25 + [{1: 0.8}] * 20, stream)
    tubes, seconds = stream.pop_tubes()
    assert tubes.tube.tolist() == [0] * 50 + [1] * 20 and set(tubes.person.tolist()) == {1}
    assert tubes.frame.tolist() == [*range(25, 75), *range(100, 120)]
    assert tubes.label.tolist() == [0] * 50 + [1] * 20
    np.testing.assert_allclose(tubes.score, [0.9] * 50 + [0.8] * 20)
    np.testing.assert_allclose(tubes.tube_score, [0.9] * 50 + [0.8] * 20)
    np.testing.assert_allclose(seconds, tubes.frame / RATE)
    np.testing.assert_allclose(tubes.boxes, np.tile(BOX, (70, 1)))
    run_scores([{0: 0.9}] * 30, stream)
    tubes, _ = stream.pop_tubes()
    assert tubes.tube.tolist() == [2] * 30
    assert len(stream.pop_tubes()[0]) == 0


def test_dropped_frames_lie_on_lines() -> None:
    stream = ActionStream(LABELS)
    for number in range(0, 180, 9):
        box = (10.0 + number, 10.0, 60.0 + number, 50.0)
        stream.update(number, number / RATE, people((box, {0: 0.9})))
    stream.finish()
    tubes, seconds = stream.pop_tubes()
    assert tubes.frame.tolist() == list(range(172))
    np.testing.assert_allclose(tubes.boxes[:, 0], 10 + np.arange(172))
    np.testing.assert_allclose(seconds, np.arange(172) / RATE)


def test_long_actions_are_divided_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tubes of a person who goes on for ever; the event goes on, too."""
    monkeypatch.setattr("actiontubes.detect.linking.action_stream._LONGEST", 2.0)
    stream = ActionStream(LABELS)
    events = run_scores([{0: 0.9}] * 200, stream)
    assert [event.kind for event in events] == ["begin", "end"]
    tubes, _ = stream.pop_tubes()
    assert np.bincount(tubes.tube).max() <= 52 and len(tubes) == 200
    assert tubes.frame.tolist() == list(range(200))


def test_nothing_is_kept_of_people_who_do_nothing() -> None:
    stream = ActionStream(LABELS)
    for number in range(300):
        stream.update(number, number / RATE, people((BOX, {0: 0.01, 1: 0.02})))
    (person,) = stream._followed.values()
    assert len(person.frames) < 15 and not person.states


def test_a_pause_of_the_source_ends_all() -> None:
    stream = ActionStream(LABELS)
    for number in range(50):
        stream.update(number, number / RATE, people((BOX, {0: 0.9})))
    (event,) = stream.update(50, 30.0, people((BOX, {0: 0.9})))
    assert (event.kind, event.seconds) == ("end", pytest.approx(2.0))
    assert len(stream.finish()) == 0  # one frame is no action


def test_zones() -> None:
    """A person walks through; the action goes on before and behind it."""
    left_half = {"left": lambda boxes: boxes[:, 0] < 50}
    stream = ActionStream(LABELS, zones=left_half)
    events = []
    for number in range(100):
        box = (number, 10.0, number + 40.0, 50.0)
        events += stream.update(number, number / RATE, people((box, {0: 0.9})))
    events += stream.finish()
    assert [(event.kind, event.zone) for event in events] == [("begin", "left"), ("end", "left")]
    assert [event.seconds for event in events] == pytest.approx([0.0, 2.0])
    # The tube is of the whole action.
    assert len(stream.pop_tubes()[0]) == 100
