"""People followed through a video: hand-made cases, properties, and following by appearance."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

import cv2
import numpy as np
import pytest
from actiontubes.detect.boxes.iou import pairwise_iou
from actiontubes.detect.linking.person_tracker import PersonTrack, PersonTracker
from actiontubes.detect.people.appearance import track_appearance
from hypothesis import given, settings
from hypothesis import strategies as st


def link(frames: Sequence[Sequence[Sequence[float]]], **options) -> list[PersonTrack]:
    """All tracks, in the order in which they begin; a person is x1, y1, x2, y2, score."""
    linker = PersonTracker(**options)
    tracks = []
    for number, people in enumerate(frames):
        tracks += linker.update(number, np.array(people, np.float64).reshape(-1, 5))
    return sorted(tracks + linker.finish(), key=lambda track: (track.start, *track.boxes[0]))


def person(x: float, y: float = 50, score: float = 0.9, w: float = 40, h: float = 80):
    return (x, y, x + w, y + h, score)


def left(track: PersonTrack) -> list[float]:
    return [float(box[0]) for box in track.boxes]


def test_iou_of_boxes() -> None:
    a = np.array([[0, 0, 10, 10], [5, 5, 5, 5], [0, 0, 2, 2]], float)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [5, 5, 5, 5]], float)
    assert pairwise_iou(a, b).tolist() == [
        [1, 50 / 150, 0, 0],
        [0, 0, 0, 0],
        [4 / 100, 0, 0, 0],
    ]
    assert pairwise_iou(a, b[:0]).shape == (3, 0)


def test_one_person_is_one_track() -> None:
    (track,) = link([[person(2 * k, score=0.5 + k / 100)] for k in range(20)])
    assert (track.start, track.end) == (0, 20)
    assert left(track) == [2 * k for k in range(20)]
    assert track.scores == [0.5 + k / 100 for k in range(20)]


def test_two_people_cross() -> None:
    """Where they meet, motion alone tells them apart."""
    frames = [[person(8 * k), person(160 - 8 * k)] for k in range(21)]
    assert frames[10][0] == frames[10][1]
    right_goer, left_goer = link(frames)
    assert left(right_goer) == [8 * k for k in range(21)]
    assert left(left_goer) == [160 - 8 * k for k in range(21)]


def test_a_gap_is_interpolated() -> None:
    score = [0.9] * 12 + [0.7] * 12 + [0.8] * 16
    frames = [[person(k, score=score[k])] for k in range(40)]
    frames[10:16], frames[22:30] = [[]] * 6, [[]] * 8
    (track,) = link(frames)
    np.testing.assert_allclose(left(track), np.arange(40))
    assert track.scores == [0.9] * 10 + [0.7] * 20 + [0.8] * 10  # the lower of both sides'


@pytest.mark.parametrize(("missing", "tracks"), [(14, 1), (15, 2)])
def test_a_long_gap_ends_a_track(missing: int, tracks: int) -> None:
    frames: list = [[person(0)]] * 10 + [[]] * missing + [[person(0)]] * 10
    found = link(frames, gap=15)
    assert len(found) == tracks
    assert found[0].end == (10 if tracks == 2 else len(frames))
    assert found[-1].end == len(frames)


def test_ended_tracks_come_as_they_end() -> None:
    linker = PersonTracker(gap=3)
    nobody = np.empty((0, 5))
    for number in range(10):
        assert linker.update(number, np.array([person(0)])) == []
    assert [len(linker.update(number, nobody)) for number in range(10, 15)] == [0, 0, 0, 1, 0]
    assert linker.active == [] and linker.finish() == []


def test_a_fast_move() -> None:
    """An overlap of a seventh is still the person just lost, not somebody new."""
    frames = [[person(0)]] * 10 + [[person(30)]] * 10
    assert pairwise_iou(np.array([person(0)]), np.array([person(30)])) == pytest.approx(1 / 7)
    (track,) = link(frames)
    assert (track.start, track.end) == (0, 20)
    jump = [[person(0)]] * 10 + [[person(39)]] * 10
    assert len(link(jump)) == 2


def test_motion_brings_a_person_back() -> None:
    frames = [[person(10 * k)] for k in range(30)]
    frames[10:18] = [[]] * 8  # 90 pixels on, the last box overlaps nothing
    (track,) = link(frames)
    np.testing.assert_allclose(left(track), 10 * np.arange(30))


def test_a_second_box_of_somebody_known_is_nobody_new() -> None:
    frames = [[person(0)] for _ in range(20)]
    for number in range(8, 20):
        frames[number] = [person(0), person(8, score=0.8)]  # overlap 2/3
    assert len(link(frames)) == 1
    for number in range(8, 20):
        frames[number] = [person(0), person(16, score=0.8)]  # overlap 3/7: somebody in front
    assert [track.start for track in link(frames)] == [0, 8]


def test_faint_boxes_continue_but_never_start() -> None:
    strong, faint = [person(0)], [person(200, score=0.49), person(0, score=0.03)]
    (track,) = link([strong] * 5 + [faint] * 15)
    assert track.end == 20
    assert track.scores == [0.9] * 5 + [0.03] * 15
    assert link([faint] * 20) == []


def test_the_confident_choose_first() -> None:
    """A faint box that fits better does not take the place of a confident one."""
    frames = [[person(0)]] * 9 + [[person(0, score=0.1), person(10)]]
    (track,) = link(frames)
    assert left(track)[-1] == 10


def test_a_pair_too_far_apart_does_not_sway_the_others() -> None:
    a, b = person(100), person(116)
    first, second = person(107), person(76)
    overlap = pairwise_iou(np.array([a, b]), np.array([first, second]))
    assert overlap == pytest.approx(np.array([[33 / 47, 16 / 64], [31 / 49, 0]]))
    # The greatest sum is 31/49 + 16/64, which takes the first box from A and leaves A with none.
    tracks = link([[a, b]] * 10 + [[first, second]])
    assert [left(track)[-1] for track in tracks] == [107, 116, 76]


def test_short_tracks_are_noise_except_at_the_end() -> None:
    blip: list = [[person(0)]] * 7
    nobody: list = [[]] * 30
    assert link(blip + nobody) == []
    assert [len(track.boxes) for track in link([*blip, blip[0], *nobody])] == [8]
    assert [len(track.boxes) for track in link(nobody + blip)] == [7]


def test_growing_boxes_do_not_run_away() -> None:
    frames = [[(100 - k, 100 - k, 120 + k, 120 + k, 0.9)] for k in range(15)]
    linker = PersonTracker()
    for number, people in enumerate(frames):
        linker.update(number, np.array(people, float))
    assert linker.active[0].velocity.tolist() == [0, 0, 0, 0]


@st.composite
def crowds(draw) -> list[np.ndarray]:
    """People who wander about, and boxes that come and go; no two boxes are the same."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, length = draw(st.integers(0, 4)), draw(st.integers(1, 60))
    place = random.uniform(0, 200, (count, 2))
    size = random.uniform(20, 60, (count, 2))
    frames = []
    for _ in range(length):
        place = place + random.normal(0, draw(st.sampled_from([1, 8])), (count, 2))
        seen = random.random(count) < 0.8
        people = np.concatenate([place, place + size], axis=1)[seen]
        noise = random.uniform(0, 200, (random.integers(0, 3), 4))
        noise[:, 2:] = noise[:, :2] + random.uniform(5, 60, (len(noise), 2))
        boxes = np.concatenate([people, noise])
        frames.append(np.column_stack([boxes, random.random(len(boxes))]))
    return frames


@settings(deadline=None, max_examples=60)
@given(crowds(), st.randoms(use_true_random=False))
def test_properties_of_any_tracks(frames: list[np.ndarray], random) -> None:
    tracks = link([people.tolist() for people in frames], min_length=1)
    given_boxes = {
        (number, *row[:4]): row[4] for number, f in enumerate(frames) for row in f.tolist()
    }
    used = []
    for track in tracks:
        assert len(track.boxes) == len(track.scores) == track.end - track.start
        assert 0 <= track.start < track.end <= len(frames)
        rows = [(track.start + k, *box.tolist()) for k, box in enumerate(track.boxes)]
        own = [row for row in rows if row in given_boxes]
        used += own
        # The ends are detections, the first one confident; detections keep their scores.
        assert own[0] == rows[0] and own[-1] == rows[-1]
        assert given_boxes[rows[0]] >= 0.5
        for row in own:
            assert track.scores[row[0] - track.start] == given_boxes[row]
        gaps = np.diff([row[0] for row in own])
        assert gaps.max(initial=1) <= 15
    assert len(used) == len(set(used)), "a box belongs to two people"
    confident = {row for row, score in given_boxes.items() if score >= 0.5}
    alone = {number for number, f in enumerate(frames) if (f[:, 4] >= 0.5).sum() == 1}
    starts = {(track.start, *track.boxes[0].tolist()) for track in tracks}
    assert starts <= confident
    if alone and min(alone) == min((row[0] for row in confident), default=-1):
        assert min(track.start for track in tracks) == min(alone)

    shuffled = [random.sample(people.tolist(), len(people)) for people in frames]
    again = link(shuffled, min_length=1)
    assert len(again) == len(tracks)
    for one, other in zip(tracks, again):
        assert one.start == other.start and one.scores == other.scores
        np.testing.assert_array_equal(one.boxes, other.boxes)


@settings(deadline=None, max_examples=40)
@given(crowds(), st.integers(0, 2**32 - 1))
def test_popped_boxes_are_final(frames: list[np.ndarray], seed: int) -> None:
    """Whenever they are taken, those taken and those left are the track that nobody took from."""
    random = np.random.default_rng(seed)
    linker, tracks = PersonTracker(), []
    popped: dict[PersonTrack, list[tuple[np.ndarray, float]]] = {}
    for number, people in enumerate(frames):
        tracks += linker.update(number, people)
        for track in linker.active:
            if random.random() < 0.3:
                before = int(random.integers(0, number + 2))
                rows = zip(*track.pop_final(before), strict=True)
                popped.setdefault(track, []).extend(rows)
                assert track.boxes
    tracks += linker.finish()
    whole = {tuple(track.boxes[0]): track for track in link([people.tolist() for people in frames])}
    assert len(tracks) == len(whole)
    for track in tracks:
        rows = [*popped.get(track, ()), *zip(track.boxes, track.scores, strict=True)]
        expected = whole[tuple(rows[0][0])]
        assert len(rows) == track.length == expected.length and track.start == expected.start
        np.testing.assert_array_equal([box for box, _ in rows], expected.boxes)
        assert [score for _, score in rows] == expected.scores


class Square:
    """A textured square of 32 pixels that moves on a curve over a textured ground."""

    def __init__(self, length: int) -> None:
        random = np.random.default_rng(0)
        ground = cv2.GaussianBlur(random.uniform(0, 255, (120, 200, 3)), (0, 0), 3)
        self.ground = np.clip((ground - 127) * 4 + 90, 0, 255).astype(np.uint8)
        coarse = random.uniform(60, 255, (6, 6, 3)).astype(np.uint8)
        self.texture = cv2.resize(coarse, (32, 32), interpolation=cv2.INTER_CUBIC)
        k = np.arange(length)
        self.x = np.round(10 + 3 * k).astype(int)
        self.y = np.round(45 + 25 * np.sin(k / 5)).astype(int)

    def box(self, k: int) -> list[float]:
        return [self.x[k], self.y[k], self.x[k] + 32, self.y[k] + 32]

    def frame(self, k: int) -> np.ndarray:
        frame = self.ground.copy()
        shown = self.texture[:, : max(0, 200 - self.x[k])]
        frame[self.y[k] : self.y[k] + 32, self.x[k] : self.x[k] + 32] = shown
        return frame


def linked(square: Square, seen: Sequence[int], **options) -> list[PersonTrack]:
    """Tracks of the square where only some frames have a detection."""
    linker = PersonTracker(appearance=track_appearance, **options)
    tracks = []
    for k in range(len(square.x)):
        people = [[*square.box(k), 0.8]] if k in seen else []
        tracks += linker.update(k, np.array(people, float).reshape(-1, 5), square.frame(k))
    return tracks + linker.finish()


def test_followed_by_appearance_while_the_detector_misses() -> None:
    square = Square(45)
    seen = [*range(10), *range(34, 45)]
    # Interpolation could not do it: the way is curved, and the gap too long for it.
    straight = [square.y[9] + (square.y[34] - square.y[9]) * (k - 9) / 25 for k in range(10, 34)]
    assert np.abs(square.y[10:34] - straight).max() > 12
    assert len(link([[[*square.box(k), 0.8]] if k in seen else [] for k in range(45)])) == 2
    (track,) = linked(square, seen)
    assert (track.start, track.end) == (0, 45)
    expected = np.array([square.box(k) for k in range(45)])
    assert np.diag(pairwise_iou(np.array(track.boxes), expected)).min() > 0.7
    assert track.scores == [0.8] * 10 + [0.4] * 24 + [0.8] * 11
    assert track.appearance is None


def test_followed_frames_at_the_end_are_cut() -> None:
    (track,) = linked(Square(45), range(20))
    assert (track.start, track.end) == (0, 20)
    (track,) = linked(Square(30), range(20))  # the video ends while the person is followed
    assert (track.start, track.end) == (0, 20)
    assert track.appearance is None


def test_only_so_long_and_only_known_people_are_followed() -> None:
    square = Square(45)
    seen = [*range(10), *range(34, 45)]
    assert [track.end for track in linked(square, seen, appearance_frames=5, gap=3)] == [10, 45]
    assert [track.start for track in linked(square, [*range(5), *range(34, 45)])] == [34]


def test_follow_step_by_step() -> None:
    square = Square(20)
    step = track_appearance(square.frame(0), np.array(square.box(0), float))
    for k in range(1, 20):
        box = step(square.frame(k))
        assert box is not None
        assert pairwise_iou(box[None], np.array([square.box(k)], float)) > 0.6


def test_a_person_who_leaves_the_frame_is_lost() -> None:
    square = Square(64)  # at frame 57, 13 of its 32 columns lie outside
    step = track_appearance(square.frame(40), np.array(square.box(40), float))
    boxes = (step(square.frame(k)) for k in range(41, 64))
    found = list(takewhile(lambda box: box is not None, boxes))
    assert 13 <= len(found) <= 20
    assert np.min(found) >= 0 and np.max(found, axis=0)[2] <= 200


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((240, 320), (318.6, 10, 320, 200)),  # a sliver at the edge
        ((240, 320), (0, 237, 320, 240)),
        ((240, 320), (50, 50, 50, 50)),
        ((240, 320), (319.9, 239.9, 320, 240)),
        ((4, 4), (0, 0, 4, 4)),
        ((1, 300), (0, 0, 300, 1)),
        ((1, 1), (0, 0, 1, 1)),
    ],
)
def test_thin_boxes_and_tiny_frames_do_no_harm(
    size: tuple[int, int], box: tuple[float, ...]
) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    step = track_appearance(frame, np.array(box, float))
    for _ in range(2):
        found = step(frame)
        assert found is None or (found.min() >= 0 and (found[2:] <= size[::-1]).all())
