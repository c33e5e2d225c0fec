"""Who begins and ends an action while a video goes on: known with a short delay.

People are followed by `box_tracker`. Whether a person does something is decoded by the recursion of
`decoding.decode_present`, which needs no later frame once its value leaves the range that a change
costs; a whole video is not there to estimate levels from, so a threshold takes their place.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import numpy as np

from ...datasets.options import Options, between, greater_than
from ...datasets.tables import Tubes, tubes_from_rows
from ..boxes.interpolation import fill_gaps
from .box_tracker import BoxTracker, TrackingConfig

_CLEAR = 2.0  # log-odds from the threshold on that count as clear evidence
_STALL = 2.0  # seconds without a frame after which all tracks end
_MIN_BOXES = 4  # of a track that counts as a person
_LONGEST = 120.0  # seconds of a tube; a longer one is divided
_USUAL_STEP = 0.04  # seconds from one frame to the next, before the second one
_EVERYWHERE = ""  # the place of an action without zones

Inside = Callable[[np.ndarray], np.ndarray]
"""(N, 4) boxes → (N,) bool, whether these people are in a zone."""


@dataclass(frozen=True, kw_only=True)
class StreamConfig(Options):
    """Parameters of decoding actions as they happen.

    Attributes:
        threshold: score of a label that is as likely present as not.
        settle: seconds of clear evidence that begin or end an action; also its least length.
        least_person: least mean score of a track that counts as a person.
    """

    threshold: Annotated[float, between(0, 1)] = 0.4
    settle: Annotated[float, greater_than(0)] = 0.4
    least_person: Annotated[float, between(0, 1)] = 0.3


@dataclass(frozen=True, eq=False)
class FramePeople:
    """The people on one frame, and what they may be doing.

    Attributes:
        boxes: (P, 4) x1 y1 x2 y2 in pixels of the frame.
        score: (P,) that it is a person, in 0 to 1.
        row: (S,) the person of each label's score.
        label: (S,) index into the labels.
        probability: (S,) that this person does this, in 0 to 1.
    """

    boxes: np.ndarray
    score: np.ndarray
    row: np.ndarray
    label: np.ndarray
    probability: np.ndarray


@dataclass(frozen=True)
class ActionEvent:
    """Someone begins or ends an action.

    Attributes:
        kind: "begin" or "end".
        seconds: when it began or ended; known a little later.
        person: number from 1.
        label: index into the labels.
        score: mean probability since the beginning.
        box: x1 y1 x2 y2 of the person on the latest frame.
        zone: "" without zones.
    """

    kind: Literal["begin", "end"]
    seconds: float
    person: int
    label: int
    score: float
    box: tuple[float, float, float, float]
    zone: str = ""


@dataclass(frozen=True)
class PersonNow:
    """A person on the latest frame.

    Attributes:
        person: number from 1.
        box: (4,) x1 y1 x2 y2.
        actions: label, score and since when, highest score first.
    """

    person: int
    box: np.ndarray
    actions: tuple[tuple[int, float, float], ...]


@dataclass
class _Presence:
    """Whether a person does something, as known so far.

    Attributes:
        value: what present is worth more than background, in seconds of clear evidence.
        since: end of the last frame that is decided.
        is_present: what it was decided to be.
        start, tube_start: when the action began, and its tube, of which it may have several.
        total, count: of the scores of the frames that are decided to be present.
        waiting: scores since.
    """

    value: float
    since: float
    is_present: bool = False
    start: float = 0.0
    tube_start: float = 0.0
    total: float = 0.0
    count: int = 0
    waiting: list[float] = field(default_factory=list)

    @property
    def score(self) -> float:
        return self.total / max(self.count, 1)


@dataclass
class _Followed:
    """A track: its person's number, 0 until it counts; and its frames, as far as needed."""

    first: float
    number: int = 0
    count: int = 0
    total: float = 0.0  # of the scores that it is a person
    box: np.ndarray = field(default_factory=lambda: np.zeros(4))
    end: float = 0.0  # of the last frame with a box
    states: dict[tuple[int, str], _Presence] = field(default_factory=dict)
    # Number and time of a frame, box, scores by label.
    frames: deque[tuple[int, float, np.ndarray, dict[int, float]]] = field(default_factory=deque)


class ActionStream:
    """Follows people frame by frame and says what they do.

    Args:
        labels: names of the actions.
        config: the parameters of decoding.
        tracking: those of following people; frames count as they come here.
        zones: by name; with them, events are of those inside alone.

    Attributes:
        now: the people on the latest frame.
    """

    def __init__(
        self,
        labels: tuple[str, ...],
        config: StreamConfig = StreamConfig(),
        tracking: TrackingConfig | None = None,
        zones: Mapping[str, Inside] | None = None,
    ) -> None:
        self.labels, self.config, self.zones = labels, config, dict(zones or {})
        self.now: list[PersonNow] = []
        self._tracker = BoxTracker(tracking or TrackingConfig())
        self._followed: dict[int, _Followed] = {}
        self._events: list[ActionEvent] = []
        self._tubes: list[tuple[int, int, np.ndarray, float]] = []  # label, person, rows, score
        self._num_people = self._num_tubes = self._index = 0
        self._last: float | None = None
        self._step = _USUAL_STEP  # seconds from one frame to the next, lately

    def update(self, number: int, seconds: float, people: FramePeople) -> list[ActionEvent]:
        """Takes the people on the next frame; returns what is known since the last call.

        Args:
            number: of the frame in its video, rising.
            seconds: when it is shown, rising.
            people: see `FramePeople`.
        """
        if self._last is not None:
            step = seconds - self._last
            if step > _STALL:
                self._end_tracks(list(self._followed))
                self._tracker.end_all()
            else:
                self._step = step if self._index == 1 else 0.8 * self._step + 0.2 * step
        self._last = seconds
        video = np.zeros(len(people.boxes), np.int64)
        tracks = self._tracker.update(self._index, video, people.boxes, people.score)
        self._index += 1
        ended = self._followed.keys() - set(self._tracker.active.tolist())
        self._end_tracks(sorted(ended))
        self._see(number, seconds, people, tracks.tolist())
        return self._take_events()

    def finish(self) -> list[ActionEvent]:
        """Ends all actions; the next frame is of other people."""
        self._end_tracks(list(self._followed))
        self._tracker.end_all()
        self._last, self.now = None, []
        return self._take_events()

    def pop_tubes(self) -> tuple[Tubes, np.ndarray]:
        """The tubes of actions that have ended since the last call, with frames from end to end.

        Returns:
            the tubes, with numbers that no others had before, and the time of each row in seconds.
        """
        taken, self._tubes = self._tubes, []
        rows = [(0, label, rows[:, :5], score) for label, _, rows, score in taken]
        tubes = tubes_from_rows(rows, ("live",), self.labels)
        values = np.concatenate([np.empty((0, 7)), *(rows for *_, rows, _ in taken)])
        person = [np.full(len(rows), person) for _, person, rows, _ in taken]
        tubes = replace(
            tubes, tube=tubes.tube + self._num_tubes, score=values[:, 5],
            tube_score=tubes.tube_score if len(taken) else np.empty(0),
            person=np.concatenate([np.empty(0), *person]).astype(np.int32),
        )  # fmt: skip
        self._num_tubes += len(taken)
        return tubes, values[:, 6]

    def _take_events(self) -> list[ActionEvent]:
        events, self._events = self._events, []
        return events

    def _see(self, number: int, seconds: float, people: FramePeople, tracks: list[int]) -> None:
        scores: list[dict[int, float]] = [{} for _ in tracks]
        rows = zip(people.row.tolist(), people.label.tolist(), people.probability.tolist())
        for row, label, probability in rows:
            scores[row][label] = max(probability, scores[row].get(label, 0.0))
        inside = {name: zone(people.boxes) for name, zone in self.zones.items()}
        self.now = []
        for row, track in enumerate(tracks):
            person = self._followed.setdefault(track, _Followed(first=seconds))
            person.count += 1
            person.total += float(people.score[row])
            person.box, person.end = people.boxes[row], seconds + self._step
            is_sure = person.total >= self.config.least_person * person.count
            if not person.number and person.count >= _MIN_BOXES and is_sure:
                self._give_number(person)
            person.frames.append((number, seconds, person.box, scores[row]))
            self._decode(person, seconds, scores[row], _EVERYWHERE, True)
            for name, is_inside in inside.items():
                self._decode(person, seconds, scores[row], name, bool(is_inside[row]))
            self._divide_tubes(person, seconds)
            if person.number:
                actions = sorted(
                    ((label, state.score, state.start)
                     for (label, zone), state in person.states.items()
                     if state.is_present and not zone),
                    key=lambda action: -action[1],
                )  # fmt: skip
                self.now.append(PersonNow(person.number, person.box, tuple(actions)))

    def _give_number(self, person: _Followed) -> None:
        self._num_people += 1
        person.number = self._num_people

    def _decode(
        self,
        person: _Followed,
        seconds: float,
        scores: Mapping[int, float],
        zone: str,
        is_inside: bool,
    ) -> None:
        """One step of the recursion for the labels that have a score, or had one lately."""
        cost = self.config.settle / 2
        step = min(self._step, cost)
        known = {label for label, place in person.states if place == zone}
        middle = _log_odds(self.config.threshold)
        for label in sorted(known | (scores.keys() if is_inside else set())):
            score = scores.get(label, 0.0) if is_inside else 0.0
            evidence = (_log_odds(score) - middle) / _CLEAR
            gain = step * min(max(evidence, -1.0), 1.0)
            state = person.states.get((label, zone))
            if state is None:
                if gain <= 0:
                    continue
                # Before, it had no score, which is evidence against it.
                unseen = seconds - person.first
                is_decided = unseen > cost
                state = _Presence(-min(unseen, cost), seconds if is_decided else person.first)
                person.states[label, zone] = state
            state.value = min(max(state.value, -cost), cost) + gain
            state.waiting.append(score)
            if state.value > cost:
                self._decide_present(person, label, zone, state)
            elif state.value < -cost:
                if state.is_present:
                    self._end_action(person, label, zone, state)
                del person.states[label, zone]

    def _decide_present(self, person: _Followed, label: int, zone: str, state: _Presence) -> None:
        state.total += sum(state.waiting)
        state.count += len(state.waiting)
        state.waiting.clear()
        if not state.is_present:
            state.is_present, state.start = True, state.since
            state.tube_start = state.start
            if not person.number:
                self._give_number(person)
            self._add_event("begin", state.start, person, label, zone, state)
        state.since = person.end

    def _end_action(self, person: _Followed, label: int, zone: str, state: _Presence) -> None:
        self._add_event("end", state.since, person, label, zone, state)
        if not zone:
            self._keep_tube(person, label, state, state.since)

    def _add_event(
        self,
        kind: Literal["begin", "end"],
        seconds: float,
        person: _Followed,
        label: int,
        zone: str,
        state: _Presence,
    ) -> None:
        if bool(self.zones) == bool(zone):
            x1, y1, x2, y2 = person.box.tolist()
            box = (x1, y1, x2, y2)
            event = ActionEvent(kind, seconds, person.number, label, state.score, box, zone)
            self._events.append(event)

    def _keep_tube(self, person: _Followed, label: int, state: _Presence, end: float) -> None:
        """Keeps the frames of an action as rows: number, box, score, time."""
        half = self._step / 2  # beginning and end lie between two frames
        start, end = state.tube_start - half, end - half
        rows = np.array(
            [(number, *box, scores.get(label, 0.0), seconds)
             for number, seconds, box, scores in person.frames if start <= seconds < end]
        ).reshape(-1, 7)  # fmt: skip
        if len(rows):
            frame = rows[:, 0].astype(np.int64)
            frame, _, columns = fill_gaps(frame, np.zeros(len(rows), np.int64), rows[:, 1:])
            self._tubes.append(
                (label, person.number, np.column_stack([frame, columns]), state.score)
            )

    def _divide_tubes(self, person: _Followed, seconds: float) -> None:
        """Keeps what is known of long actions, and forgets the frames that nothing needs."""
        needed = seconds - self.config.settle
        for (label, zone), state in person.states.items():
            if zone:
                continue
            if state.is_present and state.since - state.tube_start >= _LONGEST:
                self._keep_tube(person, label, state, state.since)
                state.tube_start = state.since
            needed = min(needed, state.tube_start if state.is_present else state.since)
        needed = max(needed, seconds - 2 * _LONGEST) - self._step / 2
        while person.frames and person.frames[0][1] < needed:
            person.frames.popleft()

    def _end_tracks(self, tracks: Iterable[int]) -> None:
        """Ends what people did until they were seen last."""
        for track in tracks:
            person = self._followed.pop(track)
            for (label, zone), state in person.states.items():
                if state.is_present:
                    # What is not decided follows what the value says.
                    state.since = person.end if state.value > 0 else state.since
                    self._end_action(person, label, zone, state)


def _log_odds(score: float) -> float:
    inside = min(max(score, 1e-6), 1 - 1e-6)
    return math.log(inside / (1 - inside))
