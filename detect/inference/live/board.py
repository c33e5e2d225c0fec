"""What the page of a live run shows: who does what now, and the latest events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

from ...linking.action_stream import PersonNow

_EVENTS = 200  # the latest that are kept


class Board:
    """The state of each source as plain JSON; threads may read it while others write.

    Args:
        names: of the sources.

    Attributes:
        delivery: how many events were sent, wait and were dropped; None where they are not sent.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.delivery: Callable[[], dict[str, Any]] | None = None
        self._lock = Lock()
        self._sources: list[dict[str, Any]] = [{"name": name, "people": []} for name in names]
        self._events: deque[dict[str, Any]] = deque(maxlen=_EVENTS)

    def show(self, index: int, state: dict[str, Any]) -> None:
        """Replaces what is known of a source."""
        with self._lock:
            self._sources[index] = {"name": self._sources[index]["name"], **state}

    def add_event(self, event: dict[str, Any]) -> None:
        with self._lock:
            self._events.append(event)

    def status(self) -> dict[str, Any]:
        """`sources` in their order, and `events`: sent, waiting, dropped and error."""
        with self._lock:
            sources = list(self._sources)
        return {"sources": sources, "events": self.delivery() if self.delivery else {}}

    def events(self) -> list[dict[str, Any]]:
        """The latest events, newest first; see `events.describe_event`."""
        with self._lock:
            return list(reversed(self._events))


def describe_people(people: Sequence[PersonNow], labels: tuple[str, ...]) -> list[dict[str, Any]]:
    """The people on a frame as plain JSON: person, box, and actions with label, score and since."""
    return [
        {
            "person": each.person, "box": [round(side, 1) for side in each.box.tolist()],
            "actions": [
                {"label": labels[label], "score": round(score, 4), "since": round(since, 3)}
                for label, score, since in each.actions
            ],
        }
        for each in people
    ]  # fmt: skip
