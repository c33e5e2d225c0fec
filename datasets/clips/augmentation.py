"""Augmentation: a clip is mirrored, zoomed, cropped and recolored, all its frames alike.

Frames are RGB (C = 3), optical flow (C = 2) or both (C = 5, RGB first).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..flow.estimate import FLOW_ZERO
from ..video.resize import resize
from .options import Augmentation

# A box that the crop leaves a smaller share of is dropped: too little of the person is visible.
_MIN_VISIBLE_SHARE = 0.3
# Around a frame smaller than the clip: the middle of the range, 0 once it is normalized.
_GRAY = 127
# Luma of ITU-R BT.601, as torchvision's rgb_to_grayscale uses.
_LUMA = np.array([0.2989, 0.587, 0.114])
# Every eighth row and column is enough for the mean gray of a frame.
_SPARSE = 8


@dataclass(frozen=True, eq=False)
class ClipTransform:
    """What is done to all frames of one clip, and to its boxes.

    Attributes:
        crop: x1, y1, x2, y2, whole pixels of the frame: the part that is used.
        place: x1, y1, x2, y2, whole pixels of the clip: where that part goes.
        size: height and width of the clip.
        flip: whether the clip is mirrored at the end.
        color: (3, 4) matrix and offset of RGB, or None. Flow keeps its values, except for the sign
            of its x-component in a mirrored clip.
    """

    crop: tuple[int, int, int, int]
    place: tuple[int, int, int, int]
    size: tuple[int, int]
    flip: bool = False
    color: np.ndarray | None = None

    def apply_to_frames(self, frames: np.ndarray) -> np.ndarray:
        """(T, h, w, C) uint8 → (T, H, W, C) uint8."""
        import cv2

        channels = frames.shape[3]
        x1, y1, x2, y2 = self.crop
        left, top, right, bottom = self.place
        if self.flip:
            left, right = self.size[1] - right, self.size[1] - left
        width, height = right - left, bottom - top
        clip = np.empty((len(frames), *self.size, channels), np.uint8)
        has_flow = channels != 3
        if (height, width) != self.size:
            clip[:] = _GRAY
            if has_flow:
                clip[..., -2:] = FLOW_ZERO
        # Recoloring and mirroring are done at the smaller of the two sizes.
        shrinks = width * height < (x2 - x1) * (y2 - y1)
        for frame, target in zip(frames[:, y1:y2, x1:x2], clip):
            if shrinks:
                frame = resize(frame, height, width)
            if self.color is not None and channels > 2:
                frame = _recolor(frame, self.color)
            if self.flip:
                frame = cv2.flip(frame, 1)
            if not shrinks:
                frame = resize(frame, height, width)
            target[top:bottom, left:right] = frame
        if has_flow and self.flip:
            np.negative(clip[..., -2], out=clip[..., -2])  # modulo 256, so 128 (zero) stays 128
        return clip

    def apply_to_boxes(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes of the frame as boxes of the clip.

        Args:
            boxes: (G, 4) float, x1 y1 x2 y2 in pixels of the frame.

        Returns:
            (G, 4) float in pixels of the clip, clipped at the crop; and (G,) bool, whether enough
            of each box is left.
        """
        crop, place = (np.array(box, np.float64).reshape(2, 2) for box in (self.crop, self.place))
        corners = boxes.reshape(-1, 2, 2)
        visible = np.clip(corners, *crop)
        area = np.prod(corners[:, 1] - corners[:, 0], axis=1)
        kept = np.prod(visible[:, 1] - visible[:, 0], axis=1) >= _MIN_VISIBLE_SHARE * area
        visible = place[0] + (visible - crop[0]) * (place[1] - place[0]) / (crop[1] - crop[0])
        if self.flip:
            visible[..., 0] = self.size[1] - visible[:, ::-1, 0]
        return visible.reshape(-1, 4), kept


def sample_transform(
    augmentation: Augmentation | None,
    rng: np.random.Generator,
    frames: np.ndarray,
    height: int,
    width: int,
) -> ClipTransform:
    """Draws the transform of a clip.

    Args:
        augmentation: how much clips vary; None stretches the whole frame to the clip.
        rng: all randomness comes from it.
        frames: (T, h, w, C) uint8.
        height, width: of the clip.
    """
    h, w = frames.shape[1:3]
    if augmentation is None:
        return ClipTransform((0, 0, w, h), (0, 0, width, height), (height, width))
    zoom = np.exp(rng.uniform(*np.log(augmentation.scale)))
    x, y = rng.random(2) if augmentation.crop else (0.5, 0.5)
    x1, x2, left, right = _crop_and_place(w, width, zoom, x)
    y1, y2, top, bottom = _crop_and_place(h, height, zoom, y)
    flip = bool(rng.random() < augmentation.flip)
    low, high = 1 - augmentation.color, 1 + augmentation.color
    brightness, contrast, saturation = rng.uniform(low, high, 3)
    color = None
    if augmentation.color and frames.shape[3] > 2:
        sparse = frames[len(frames) // 2, ::_SPARSE, ::_SPARSE, :3]
        gray = (sparse.mean((0, 1)) @ _LUMA).item()
        color = color_matrix(brightness, contrast, saturation, gray)
    return ClipTransform(
        (x1, y1, x2, y2), (left, top, right, bottom), (height, width), flip=flip, color=color
    )


def _crop_and_place(
    length: int, target: int, zoom: float, position: float
) -> tuple[int, int, int, int]:
    """Along one axis: start and end of the crop in the frame, and of its place in the clip.

    Args:
        length: of the frame.
        target: of the clip.
        zoom: above 1 the frame is cropped, below 1 it fills only a part of the clip.
        position: of the crop or the place, from 0 at the start to 1 at the end.
    """
    if zoom >= 1:
        visible = max(1, round(length / zoom))
        start = round(position * (length - visible))
        return start, start + visible, 0, target
    filled = max(1, round(target * zoom))
    start = round(position * (target - filled))
    return 0, length, start, start + filled


def color_matrix(brightness: float, contrast: float, saturation: float, gray: float) -> np.ndarray:
    """Brightness, then contrast, then saturation, as torchvision defines them, as one matrix.

    Args:
        brightness, contrast, saturation: factors; 1 changes nothing.
        gray: the mean gray of the original frames, towards which contrast pulls.

    Returns:
        (3, 4): a matrix for RGB, and the offset that is added then.
    """
    mixed = saturation * np.eye(3) + (1 - saturation) * _LUMA
    offset = np.full((3, 1), (1 - contrast) * brightness * gray)
    return np.hstack([contrast * brightness * mixed, offset])


def _recolor(frame: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(h, w, C) uint8 with a color matrix applied to its first three channels."""
    import cv2

    if frame.shape[2] == 3:
        return cv2.transform(frame, matrix)
    rgb = cv2.transform(np.ascontiguousarray(frame[..., :3]), matrix)
    return np.concatenate([rgb, frame[..., 3:]], axis=2)
