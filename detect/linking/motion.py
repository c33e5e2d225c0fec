"""How people move: a Kalman filter of boxes at nearly constant velocity, and its smoother.

A box is its center, width and height, each with a velocity of its own. A measurement is the
position plus noise, and the velocity changes by noise from frame to frame. All four have the same
ratio of the two noises, so all boxes share the filter's gains but for how long they were followed
(Bar-Shalom, Li & Kirubarajan 2001, sections 6.2 and 8.6).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_FIRST_VELOCITY = 0.05  # variance of an unknown velocity, a frame, by that of a measurement
_MIN_SIZE = 1e-6


@dataclass(eq=False)
class MotionState:
    """What is known of T boxes at the frames of their last measurements.

    Attributes:
        position: (T, 4) center, width and height.
        velocity: (T, 4) their changes in a frame.
        covariance: (T, 3) variance of the position, covariance, and variance of the velocity, by
            the variance of a measurement.
    """

    position: np.ndarray
    velocity: np.ndarray
    covariance: np.ndarray


def start_motion(boxes: np.ndarray) -> MotionState:
    """The state after one measurement, (T, 4) x1 y1 x2 y2."""
    covariance = np.tile([1.0, 0.0, _FIRST_VELOCITY], (len(boxes), 1))
    return MotionState(to_centers(boxes), np.zeros((len(boxes), 4)), covariance)


def predict_boxes(state: MotionState, steps: np.ndarray) -> np.ndarray:
    """(T, 4) x1 y1 x2 y2 where boxes should be, each so many frames (T,) later."""
    return to_corners(state.position + state.velocity * steps[:, None])


def update_motion(
    state: MotionState, rows: np.ndarray, steps: np.ndarray, boxes: np.ndarray, noise: float
) -> None:
    """Adds a measurement to some boxes.

    Args:
        state: is changed.
        rows: (M,) which boxes.
        steps: (M,) frames since the last measurement of each.
        boxes: (M, 4) x1 y1 x2 y2, the measurements.
        noise: variance of a change of velocity in a frame, by that of a measurement.
    """
    dt = steps.astype(np.float64)
    position, both, velocity = state.covariance[rows].T
    # Sums over changes that act for 1 to dt frames: of their squares, of them, and of 1.
    position = position + 2 * dt * both + dt**2 * velocity
    position = position + noise * dt * (dt + 1) * (2 * dt + 1) / 6
    both = both + dt * velocity + noise * dt * (dt + 1) / 2
    velocity = velocity + noise * dt
    gain, velocity_gain = position / (position + 1), both / (position + 1)
    predicted = state.position[rows] + state.velocity[rows] * dt[:, None]
    error = to_centers(boxes) - predicted
    state.position[rows] = predicted + gain[:, None] * error
    state.velocity[rows] += velocity_gain[:, None] * error
    state.covariance[rows] = np.column_stack(
        [(1 - gain) * position, (1 - gain) * both, velocity - velocity_gain * both]
    )


def smooth_tracks(
    track: np.ndarray, boxes: np.ndarray, weight: np.ndarray, noise: float
) -> np.ndarray:
    """The most likely boxes on all frames of tracks, those without a measurement included.

    It is what a Rauch-Tung-Striebel smoother gives without a prior on the first state: the minimum
    of

        noise sum_t weight_t (z_t - x_t)^2 + sum_t (x_t+1 - 2 x_t + x_t-1)^2.

    One banded system solves all tracks at once.

    Args:
        track: (R,) number of the track, ascending; its rows are consecutive frames.
        boxes: (R, 4) x1 y1 x2 y2, what was measured.
        weight: (R,) 1 where there was a measurement, 0 where not; there is one on the first and
            the last frame of each track.
        noise: see `update_motion`.

    Returns:
        (R, 4) x1 y1 x2 y2.
    """
    from scipy.linalg import solveh_banded  # takes long to import, and --help needs none of it

    bands = np.zeros((3, len(track)))
    bands[2] = noise * weight
    middle = np.flatnonzero(track[2:] == track[:-2]) + 1
    for offset, factor in ((-1, 1.0), (0, 4.0), (1, 1.0)):
        bands[2][middle + offset] += factor
    bands[1][middle] -= 2
    bands[1][middle + 1] -= 2
    bands[0][middle + 1] += 1
    measured = noise * weight[:, None] * to_centers(boxes)
    return to_corners(solveh_banded(bands, measured, overwrite_ab=True, check_finite=False))


def to_centers(boxes: np.ndarray) -> np.ndarray:
    """(R, 4) x1 y1 x2 y2 → center x, center y, width and height."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def to_corners(centers: np.ndarray) -> np.ndarray:
    """(R, 4) center x, center y, width and height → x1 y1 x2 y2; sizes are above 0."""
    half = np.maximum(centers[:, 2:], _MIN_SIZE) / 2
    return np.concatenate([centers[:, :2] - half, centers[:, :2] + half], axis=1)
