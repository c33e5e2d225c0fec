"""Parts of the picture in which people count."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....datasets.errors import InputError


@dataclass(frozen=True, eq=False)
class Zone:
    """A polygon in pixels of the video.

    Attributes:
        name: as in events.
        corners: (N, 2) x y.
    """

    name: str
    corners: np.ndarray

    def contains(self, boxes: np.ndarray) -> np.ndarray:
        """(N, 4) boxes → (N,) bool: is the middle of the lower edge, where one stands, inside?

        By the even-odd rule: a ray to the right crosses the border an odd number of times.
        """
        x, y = (boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]
        (x1, y1), (x2, y2) = self.corners.T, np.roll(self.corners, -1, axis=0).T
        crosses = (y1 > y[:, None]) != (y2 > y[:, None])
        height = np.where(y2 == y1, 1.0, y2 - y1)
        border = x1 + (y[:, None] - y1) / height * (x2 - x1)
        return (crosses & (x[:, None] < border)).sum(axis=1) % 2 == 1


def parse_zones(texts: list[str]) -> list[Zone]:
    """The zones of --zone NAME=x1,y1,x2,y2,...: a polygon, or two corners of a rectangle.

    Raises:
        InputError: a text is not of this form, or a name comes twice.
    """
    zones: dict[str, Zone] = {}
    for text in texts:
        name, _, numbers = text.partition("=")
        try:
            corners = np.array([float(number) for number in numbers.split(",")])
            corners = corners.reshape(-1, 2)
            if not name.strip() or len(corners) < 2 or not np.isfinite(corners).all():
                raise ValueError
        except ValueError as error:
            raise InputError(
                f"--zone {text}: must be NAME=x1,y1,x2,y2,..., the corners of a polygon in pixels "
                "of the video, or two opposite corners of a rectangle"
            ) from error
        if len(corners) == 2:
            (x1, y1), (x2, y2) = corners
            corners = np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])
        if name in zones:
            raise InputError(f"--zone {name}: is given twice; give each zone a name of its own")
        zones[name] = Zone(name, corners)
    return list(zones.values())
