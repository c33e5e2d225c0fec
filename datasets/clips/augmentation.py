"""How training clips vary: mirrored, zoomed, cut and recoloured, the whole clip by one draw.

Pictures are RGB (C = 3), flow (C = 2) or both (C = 5, RGB first), see `flow`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError, as_option
from ..flow.estimate import FLOW_ZERO
from ..video.resize import resize

# Of a box that the cut leaves less of, too little is seen to name it.
_LEAST_LEFT = 0.3
# Around a picture smaller than the clip: the middle of the range, 0 once it is centred.
_GREY = 127
# Luma of ITU-R BT.601, as torchvision's rgb_to_grayscale has it.
_LUMA = np.array([0.2989, 0.587, 0.114])
# Every so many rows and columns are enough for the mean grey of a picture.
_SPARSE = 8


@dataclass(frozen=True)
class Augmentation:
    """How far clips may vary.

    Attributes:
        flip: the share of clips that are mirrored.
        scale: the least and the largest zoom; below 1 the picture is smaller than the clip, with
            grey around it.
        crop: whether a zoomed picture is cut at a random place; else in the middle.
        colour: by which share brightness, contrast and saturation may be lower or higher.
    """

    flip: float = 0.5
    scale: tuple[float, float] = (0.75, 1.25)
    crop: bool = True
    colour: float = 0.2

    def __post_init__(self) -> None:
        for name in ("flip", "colour"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(
                    f"{as_option(name)} {getattr(self, name)}: must be between 0 and 1"
                )
        if not 0 < self.scale[0] <= self.scale[1]:
            raise InputError(
                f"--scale {' '.join(map(str, self.scale))}: give the smallest and the largest "
                "zoom, greater than 0 and in this order"
            )


@dataclass(frozen=True, eq=False)
class ClipTransform:
    """What is done to one clip.

    Attributes:
        cut: x1, y1, x2, y2, whole pixels of the picture: the part that is seen.
        place: x1, y1, x2, y2, whole pixels of the clip: where that part goes.
        size: height and width of the clip.
        flip: whether the clip is mirrored, at last.
        colour: (3, 4) matrix and offset of RGB, or None. Flow keeps its values, but for the sign of
            its x-component in a mirrored clip.
    """

    cut: tuple[int, int, int, int]
    place: tuple[int, int, int, int]
    size: tuple[int, int]
    flip: bool = False
    colour: np.ndarray | None = None

    def pictures(self, pictures: np.ndarray) -> np.ndarray:
        """(T, h, w, C) uint8 → (T, H, W, C) uint8."""
        import cv2

        channels = pictures.shape[3]
        x1, y1, x2, y2 = self.cut
        left, top, right, bottom = self.place
        if self.flip:
            left, right = self.size[1] - right, self.size[1] - left
        width, height = right - left, bottom - top
        clip = np.empty((len(pictures), *self.size, channels), np.uint8)
        has_flow = channels != 3
        if (height, width) != self.size:
            clip[:] = _GREY
            if has_flow:
                clip[..., -2:] = FLOW_ZERO
        # The smaller of the two pictures is the one to recolour and to mirror.
        shrinks = width * height < (x2 - x1) * (y2 - y1)
        for picture, target in zip(pictures[:, y1:y2, x1:x2], clip):
            if shrinks:
                picture = resize(picture, height, width)
            if self.colour is not None and channels > 2:
                picture = _recoloured(picture, self.colour)
            if self.flip:
                picture = cv2.flip(picture, 1)
            if not shrinks:
                picture = resize(picture, height, width)
            target[top:bottom, left:right] = picture
        if has_flow and self.flip:
            np.negative(clip[..., -2], out=clip[..., -2])  # modulo 256
        return clip

    def boxes(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes in pixels of the picture, from its edge, as boxes in pixels of the clip.

        Args:
            boxes: (G, 4) float, x1 y1 x2 y2.

        Returns:
            (G, 4) float, cut at the part of the picture that is seen; and (G,) bool, whether enough
            is left of each.
        """
        cut, place = (np.array(box, np.float64).reshape(2, 2) for box in (self.cut, self.place))
        corners = boxes.reshape(-1, 2, 2)
        seen = np.clip(corners, *cut)
        area = np.prod(corners[:, 1] - corners[:, 0], axis=1)
        kept = np.prod(seen[:, 1] - seen[:, 0], axis=1) >= _LEAST_LEFT * area
        seen = place[0] + (seen - cut[0]) * (place[1] - place[0]) / (cut[1] - cut[0])
        if self.flip:
            seen[..., 0] = self.size[1] - seen[:, ::-1, 0]
        return seen.reshape(-1, 4), kept


def sample_transform(
    augmentation: Augmentation | None,
    rng: np.random.Generator,
    pictures: np.ndarray,
    height: int,
    width: int,
) -> ClipTransform:
    """Draws what is done to a clip.

    Args:
        augmentation: how far clips may vary; None stretches the whole picture to the clip.
        rng: all that is random comes from it.
        pictures: (T, h, w, C) uint8.
        height, width: of the clip.
    """
    h, w = pictures.shape[1:3]
    if augmentation is None:
        return ClipTransform((0, 0, w, h), (0, 0, width, height), (height, width))
    zoom = np.exp(rng.uniform(*np.log(augmentation.scale)))
    x, y = rng.random(2) if augmentation.crop else (0.5, 0.5)
    x1, x2, left, right = _side(w, width, zoom, x)
    y1, y2, top, bottom = _side(h, height, zoom, y)
    flip = bool(rng.random() < augmentation.flip)
    low, high = 1 - augmentation.colour, 1 + augmentation.colour
    brightness, contrast, saturation = rng.uniform(low, high, 3)
    colour = None
    if augmentation.colour and pictures.shape[3] > 2:
        sparse = pictures[len(pictures) // 2, ::_SPARSE, ::_SPARSE, :3]
        grey = (sparse.mean((0, 1)) @ _LUMA).item()
        colour = colour_matrix(brightness, contrast, saturation, grey)
    return ClipTransform(
        (x1, y1, x2, y2), (left, top, right, bottom), (height, width), flip, colour
    )


def _side(length: int, target: int, zoom: float, where: float) -> tuple[int, int, int, int]:
    """Start and end of what is seen of a side, and where it goes in the clip."""
    if zoom >= 1:
        seen = max(1, round(length / zoom))
        start = round(where * (length - seen))
        return start, start + seen, 0, target
    filled = max(1, round(target * zoom))
    start = round(where * (target - filled))
    return 0, length, start, start + filled


def colour_matrix(brightness: float, contrast: float, saturation: float, grey: float) -> np.ndarray:
    """Brightness, then contrast, then saturation, each a factor as of torchvision, as one matrix.

    Args:
        brightness, contrast, saturation: factors; 1 changes nothing.
        grey: the mean grey of the pictures before, which contrast pulls towards.

    Returns:
        (3, 4): a matrix for RGB, and what is added then.
    """
    mixed = saturation * np.eye(3) + (1 - saturation) * _LUMA
    offset = np.full((3, 1), (1 - contrast) * brightness * grey)
    return np.hstack([contrast * brightness * mixed, offset])


def _recoloured(picture: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(h, w, C) uint8 with other colours in its first three channels."""
    import cv2

    if picture.shape[2] == 3:
        return cv2.transform(picture, matrix)
    rgb = cv2.transform(np.ascontiguousarray(picture[..., :3]), matrix)
    return np.concatenate([rgb, picture[..., 3:]], axis=2)
