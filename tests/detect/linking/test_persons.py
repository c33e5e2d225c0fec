"""People in made-up videos: who they are when they cross, leave, come back, and at a cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from actiontubes.datasets.tables import Detections, Tubes, select_rows
from actiontubes.detect.boxes.iou import pairwise_iou
from actiontubes.detect.boxes.merging import group_overlapping
from actiontubes.detect.linking.assembly import join_parts, merge_results
from actiontubes.detect.linking.box_tracker import assign
from actiontubes.detect.linking.linker import link, link_all
from actiontubes.detect.linking.persons import PersonsConfig, PersonsLinker
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

RUN, JUMP = 0, 1


def table(rows: list[tuple[int, int, float, float, float]], size=(40.0, 80.0)) -> Detections:
    """Boxes of one video from (frame, label, score, left, top), with a pixel of noise."""
    columns = np.array(sorted(rows)).reshape(-1, 5)
    low = columns[:, 3:] + np.random.default_rng(0).normal(0, 1, (len(columns), 2))
    return Detections(
        video=np.zeros(len(columns), np.int32),
        frame=columns[:, 0].astype(np.int32),
        label=columns[:, 1].astype(np.int32),
        score=columns[:, 2].copy(),
        boxes=np.concatenate([low, low + size], axis=1),
        video_names=("one",),
        label_names=("run", "jump"),
    )


def persons_at(tubes: Tubes, frame: int) -> dict[int, float]:
    """The left edge of each person on a frame."""
    rows = np.flatnonzero(tubes.frame == frame)
    assert tubes.person is not None
    return {int(tubes.person[row]): float(tubes.boxes[row, 0]) for row in rows}


def test_two_people_who_cross_keep_their_numbers() -> None:
    """They hide each other for some frames, and each seems to do what the other does."""
    rows = []
    for t in range(50):
        apart = abs(6 * t - (300 - 6 * t)) > 25
        rows += [(t, RUN, 0.8, 6 * t, 50), (t, JUMP, 0.3, 6 * t, 50)]
        if apart:
            rows += [(t, JUMP, 0.7, 300 - 6 * t, 50), (t, RUN, 0.2, 300 - 6 * t, 50)]
    tubes = link(table(rows), "persons")
    assert tubes.person is not None and set(tubes.person) == {1, 2}
    before, after = persons_at(tubes, 5), persons_at(tubes, 45)
    for person, left in before.items():
        assert left + after[person] == pytest.approx(300, abs=6)
    best = {
        person: tubes.label[np.argmax(np.where(tubes.person == person, tubes.tube_score, 0))]
        for person in (1, 2)
    }
    assert sorted(best.values()) == [RUN, JUMP]


def test_one_person_is_one_track_whatever_they_do() -> None:
    rows = [(t, RUN if t < 40 else JUMP, 0.8, 3 * t, 50) for t in range(80) if t % 7]
    result = link_all(table(rows), "persons")
    assert result.tracks is not None
    assert set(result.tracks.person) == {1}
    assert result.tracks.frame.tolist() == list(range(1, 80))
    assert set(zip(result.tubes.label.tolist(), result.tubes.person.tolist())) == {(0, 1), (1, 1)}


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_scores_say_when_whatever_their_level(scale: float) -> None:
    """Half of the time; scores flicker, some boxes have none, and two in a row are wrong."""
    random = np.random.default_rng(5)
    rows = []
    for t in range(90):
        level = 0.6 if 30 <= t < 70 else 0.1
        wrong = t in (10, 11, 50, 51)
        score = random.uniform(0.5, 1.5) * (0.7 - level if wrong else level)
        rows += [(t, RUN, scale * score, t, 50)] * (t % 9 != 0)
        rows += [(t, JUMP, scale * random.uniform(0.1, 0.3), t, 50)]
    tubes = link(table(rows), "persons")
    run = select_rows(tubes, tubes.label == RUN)
    assert (run.frame.min(), run.frame.max(), len(run)) == (30, 69, 40)
    assert (tubes.label == JUMP).sum() == 90  # one level: all along, with a low score


@pytest.mark.parametrize(("level", "first"), [(0.81, 0), (0.5, 40)])
def test_a_class_that_is_a_little_less_certain_somewhere_is_present_there(
    level: float, first: int
) -> None:
    """The levels of a real clip's rider in and out of the middle; and half of the one below."""
    noise = np.random.default_rng(0).normal(0, 0.02, 120)
    rows = [
        (t, RUN, float((0.86 if 40 <= t < 80 else level) + noise[t]), 3 * t, 50) for t in range(120)
    ]
    tubes = link(table(rows), "persons")
    assert tubes.frame.min() == first and tubes.frame.max() == 119 - first
    assert len(tubes.frame) == 120 - 2 * first


def appearance_of(who: np.ndarray) -> np.ndarray:
    """(R, 16) what persons look like, with noise; persons by number."""
    random = np.random.default_rng(1)
    return random.normal(0, 1, (10, 16))[who] + random.normal(0, 0.3, (len(who), 16))


def test_somebody_who_comes_back_is_known_by_appearance() -> None:
    """The first leaves to the right and comes back from the left, then somebody else comes."""
    rows = [(t, RUN, 0.8, 200 + 5 * t, 50) for t in range(20)]
    rows += [(t, RUN, 0.8, 5 * t - 400, 50) for t in range(80, 110)]
    rows += [(t, RUN, 0.8, 5 * t - 800, 50) for t in range(160, 190)]
    detections = table(rows)
    who = np.searchsorted([60, 150], detections.frame) // 2
    linker = PersonsLinker()
    results = [linker.update(detections, appearance_of(who)), linker.finish()]
    person = {
        (int(tubes.frame[0]), int(tubes.person[0]))
        for result in results
        for tubes in (
            select_rows(result.tubes, result.tubes.tube == tube)
            for tube in np.unique(result.tubes.tube)
        )
    }
    assert person == {(0, 1), (80, 1), (160, 2)}
    without = link(detections, "persons")
    assert set(without.person) == {1, 2, 3}


def test_a_cut_ends_every_track() -> None:
    detections = table([(t, RUN, 0.8, 100 + t, 50) for t in range(60)])
    (one,) = np.unique(link(detections, "persons").person)
    for method in ("persons", "act", "viterbi"):
        tubes = link(detections, method, cuts={"one": [30]})
        spans = [tubes.frame[tubes.tube == number] for number in np.unique(tubes.tube)]
        assert [(span[0], span[-1]) for span in spans] == [(0, 29), (30, 59)]
    assert one == 1 and link(detections, "persons", cuts={"one": [30]}).person.max() == 2


def test_the_best_box_of_a_person_takes_the_others() -> None:
    detections = table(
        [(0, RUN, 0.2, 0, 0), (0, JUMP, 0.6, 4, 0), (0, JUMP, 0.5, 90, 0), (1, RUN, 0.1, 0, 0)]
    )
    best, group = group_overlapping(detections, detections.frame, 0.5)
    assert detections.score[best].tolist() == [0.6, 0.5, 0.1]
    assert detections.score[best[group]].tolist() == [0.6, 0.5, 0.6, 0.1]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_assignment_has_the_greatest_sum(seed: int) -> None:
    """As one large problem has in which pairs of different groups are worth nothing."""
    random = np.random.default_rng(seed)
    group = np.sort(random.integers(0, 4, 12))
    column_group = np.sort(random.integers(0, 4, 10))
    matrix = random.random((12, 10)) * (random.random((12, 10)) < 0.5)
    matrix *= group[:, None] == column_group
    row, column = np.nonzero(matrix)
    chosen = assign(row, column, matrix[row, column], group)
    assert len(set(chosen[0].tolist())) == len(set(chosen[1].tolist())) == len(chosen[0])
    expected = matrix[linear_sum_assignment(matrix, maximize=True)].sum()
    assert matrix[chosen].sum() == pytest.approx(expected)


def test_nothing_gives_nothing() -> None:
    result = link_all(table([]), "persons")
    assert len(result.tubes) == 0 and result.num_dropped == 0
    assert pairwise_iou(result.tubes.boxes, result.tubes.boxes).shape == (0, 0)


@pytest.mark.parametrize("step", [1, 4])
def test_long_tracks_are_decoded_in_parts_that_make_one_tube(step: int) -> None:
    """Somebody who runs, then jumps, beside somebody who runs all the time; boxes are missing."""
    rows = []
    for t in range(0, 500, step):
        low, high = (0.1, 0.8) if t < 230 else (0.8, 0.1)
        rows += [(t, JUMP, low, 200, 50), (t, RUN, high, 200, 50)] * (t % 60 > 7)
        rows += [(t, RUN, 0.7, 400, 50)]
    detections = table(rows)
    config = PersonsConfig(part_length=100, prior_frames=0)
    whole = link_all(detections, PersonsLinker(replace(config, part_length=1000), step))
    parts = link_all(detections, PersonsLinker(config, step))
    assert whole.tracks is not None and parts.tracks is not None

    def spans(tubes: Tubes) -> list[tuple[int, int, int, int, float]]:
        assert tubes.tube_score is not None and tubes.person is not None
        rows = [np.flatnonzero(tubes.tube == tube) for tube in np.unique(tubes.tube)]
        for each in rows:
            assert np.diff(tubes.frame[each]).tolist() == [1] * (len(each) - 1)
        return sorted(
            (int(tubes.person[each[0]]), int(tubes.label[each[0]]), int(tubes.frame[each[0]]),
             int(tubes.frame[each[-1]]), round(float(tubes.tube_score[each[0]]), 1))
            for each in rows if tubes.tube_score[each[0]] > 0.3
        )  # fmt: skip

    assert spans(parts.tubes) == spans(whole.tubes) and len(spans(whole.tubes)) == 3
    for columns in ("person", "frame"):
        one, other = (np.sort(getattr(each.tracks, columns)) for each in (whole, parts))
        np.testing.assert_array_equal(one, other)
    # The same whenever the boxes come.
    linker = PersonsLinker(config, step)
    results = [
        linker.update(select_rows(detections, detections.frame // 28 == number))
        for number in range(18)
    ]
    assert max(len(each.frame) for each in linker._people) < 2 * 150
    streamed = merge_results([*results, linker.finish()])
    tubes = join_parts(streamed.tubes)
    assert spans(tubes) == spans(parts.tubes)
    order = np.lexsort((tubes.frame, tubes.tube))
    np.testing.assert_allclose(
        tubes.boxes[order], parts.tubes.boxes[np.lexsort((parts.tubes.frame, parts.tubes.tube))]
    )
    assert set(streamed.tracks.person.tolist()) == {1, 2}


def test_nobody_has_the_number_of_somebody_who_is_still_in_sight() -> None:
    """Though the first part of that track has ended, and they look alike."""
    rows = [(t, RUN, 0.8, 200, 50) for t in range(300)]
    rows += [(t, RUN, 0.8, 500, 50) for t in range(150, 200)]
    detections = table(rows)
    looks = np.ones((len(detections), 4))
    linker = PersonsLinker(PersonsConfig(part_length=60))
    results = []
    for start in range(0, 300, 20):
        mine = (detections.frame >= start) & (detections.frame < start + 20)
        results.append(linker.update(select_rows(detections, mine), looks[mine]))
    tracks = merge_results([*results, linker.finish()]).tracks
    assert tracks is not None
    at_left = tracks.boxes[:, 0] < 350
    assert set(tracks.person[at_left].tolist()) == {1} and at_left.sum() == 300
    assert set(tracks.person[~at_left].tolist()) == {2}
