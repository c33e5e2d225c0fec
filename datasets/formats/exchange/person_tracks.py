"""Tubes as tracks of persons, as label tools and trackers hold them, and back.

A tube has one label. A track follows one person, whatever they do: CVAT gives each of its boxes
attributes, MOT each of its rows a class. Reading divides a track into a tube for each stretch of a
label; writing joins the tubes of a person.
"""

from __future__ import annotations

import warnings

import numpy as np

from ...tables import Tubes


def tubes_of_tracks(
    video: np.ndarray, person: np.ndarray, label: np.ndarray, frame: np.ndarray, step: np.ndarray
) -> np.ndarray:
    """The tubes of tracks: one for each stretch in which a person has a label.

    Args:
        video, person, label, frame: (R,) of each row.
        step: (V,) frames from one annotated frame of a video to the next.

    Returns:
        (R,) int64 tube numbers from 0. A stretch ends where the label is missing on the next
        annotated frame.
    """
    order = np.lexsort((frame, label, person, video))
    changes = np.any([np.diff(key[order]) != 0 for key in (video, person, label)], axis=0)
    gaps = np.diff(frame[order]) > step[video[order[1:]]]
    tube = np.empty(len(frame), np.int64)
    tube[order] = np.cumsum(np.append(False, changes | gaps)[: len(order)])
    return tube


def annotated_steps(tubes: Tubes) -> np.ndarray:
    """(V,) int64 frames from one annotated frame of each video to the next: the greatest common
    divisor of the distances between its frames with boxes; 1 where there is one frame."""
    step = np.ones(len(tubes.video_names), np.int64)
    for code in np.unique(tubes.video):
        distances = np.diff(np.unique(tubes.frame[tubes.video == code]))
        if len(distances):
            step[code] = np.gcd.reduce(distances)
    return step


def number_tracks(tubes: Tubes, source: object, *, one_box: bool) -> np.ndarray:
    """The track of each row: its person, or where persons are not known, its tube.

    A person whose rows do not fit one track has one for each tube.

    Args:
        tubes: R rows.
        source: the file, for messages.
        one_box: whether a track has one box a frame, whatever the label.

    Returns:
        (R,) int64, from 1 in each video.

    Warns:
        how many persons do not fit.
    """
    ranks = np.unique(tubes.tube, return_inverse=True)[1].reshape(-1)
    if tubes.person is None:
        # From 1 in each video: tubes of a video may be anywhere among those of others.
        numbers = np.empty(len(ranks), np.int64)
        for code in np.unique(tubes.video):
            rows = tubes.video == code
            numbers[rows] = np.unique(ranks[rows], return_inverse=True)[1].reshape(-1) + 1
        return numbers
    track = tubes.person.astype(np.int64)
    keys = (tubes.frame, track, tubes.video) if one_box else (
        tubes.frame, tubes.label, track, tubes.video
    )  # fmt: skip
    order = np.lexsort(keys)
    same = np.all([np.diff(key[order]) == 0 for key in keys], axis=0)
    if one_box:
        same &= (np.diff(tubes.boxes[order], axis=0) != 0).any(axis=1)
        why = "have several boxes on a frame"
    else:
        why = "have a label twice on a frame"
    if not same.any():
        return track
    bad = np.zeros(len(track), bool)
    bad[order[1:]] = same
    members = np.stack([tubes.video, track], axis=1)
    several = np.unique(members[bad], axis=0)
    keys_of = members[:, 0] * (track.max() + 1) + members[:, 1]
    mixed = np.isin(keys_of, several[:, 0] * (track.max() + 1) + several[:, 1])
    for code in np.unique(tubes.video[mixed]):
        rows = mixed & (tubes.video == code)
        highest = track[tubes.video == code].max()
        track[rows] = highest + 1 + np.unique(ranks[rows], return_inverse=True)[1].reshape(-1)
    warnings.warn(
        f"{source}: {len(several)} persons {why}, so each of their tubes is a track of its own",
        stacklevel=4,
    )
    return track
