"""The smoother of tracks against a Kalman filter and Rauch-Tung-Striebel smoother step by step."""

from __future__ import annotations

import numpy as np
import pytest
from actiontubes.detect.linking.motion import (
    predict_boxes,
    smooth_tracks,
    start_motion,
    to_centers,
    update_motion,
)


def rts(z: np.ndarray, measured: np.ndarray, noise: float) -> np.ndarray:
    """(T,) smoothed positions; the velocity changes by noise, then moves the position."""
    transition = np.array([[1.0, 1], [0, 1]])
    added = noise * np.ones((2, 2))
    mean, covariance = np.array([z[0], 0.0]), np.diag([1.0, 1e7])
    filtered, predicted = [(mean, covariance)], []
    for t in range(1, len(z)):
        mean, covariance = transition @ mean, transition @ covariance @ transition.T + added
        predicted.append((mean, covariance))
        if measured[t]:
            gain = covariance[:, 0] / (covariance[0, 0] + 1)
            mean = mean + gain * (z[t] - mean[0])
            covariance = covariance - np.outer(gain, covariance[0])
        filtered.append((mean, covariance))
    smoothed = [filtered[-1][0]]
    for (mean, covariance), (ahead, spread) in zip(filtered[-2::-1], predicted[::-1]):
        gain = covariance @ transition.T @ np.linalg.inv(spread)
        smoothed.append(mean + gain @ (smoothed[-1] - ahead))
    return np.array(smoothed)[::-1, 0]


@pytest.mark.parametrize("noise", [0.01, 1.0])
def test_one_banded_system_is_the_smoother(noise: float) -> None:
    random = np.random.default_rng(0)
    tracks, boxes, measured, expected = [], [], [], []
    for number, length in enumerate((1, 2, 3, 40)):
        center = random.normal(0, 1, (length, 2)).cumsum(axis=0).cumsum(axis=0)
        own = np.concatenate([center - 50, center + random.uniform(50, 60, (length, 2))], axis=1)
        has_box = random.random(length) < 0.6
        has_box[[0, -1]] = True
        tracks += [number] * length
        boxes.append(own)
        measured.append(has_box)
        columns = [rts(column, has_box, noise) for column in to_centers(own).T]
        expected.append(np.stack(columns, axis=1))
    weight = np.concatenate(measured).astype(float)
    smoothed = smooth_tracks(np.array(tracks), np.concatenate(boxes), weight, noise)
    np.testing.assert_allclose(to_centers(smoothed), np.concatenate(expected), rtol=0, atol=1e-3)


def test_a_constant_velocity_is_learnt_and_bridges_a_gap() -> None:
    boxes = np.array([[5.0 * t, 0, 40 + 5 * t, 80] for t in range(40)])
    state = start_motion(boxes[:1])
    for t in range(1, 20):
        update_motion(state, np.array([0]), np.array([1]), boxes[t : t + 1], 0.01)
    predicted = predict_boxes(state, np.array([20]))[0]
    np.testing.assert_allclose(predicted, boxes[39], atol=2)
    ends = (np.arange(40) < 15) | (np.arange(40) > 30)
    smoothed = smooth_tracks(np.zeros(40, int), boxes * ends[:, None], ends.astype(float), 0.01)
    np.testing.assert_allclose(smoothed, boxes, atol=1e-6)
