"""Spatio-temporal action detection: who does what, where and when in video.

    import actiontubes

    detector = actiontubes.load("detector.safetensors")
    result = detector.predict("video.mp4")
    result.to_df("actions")

Names load on first use: importing actiontubes imports no torch. Frames count from 0; boxes are
x1 y1 x2 y2 in pixels of the original video.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .datasets.errors import InputError as InputError
    from .datasets.formats.registry import read as read
    from .datasets.formats.registry import write as write
    from .datasets.tables import Actions as Actions
    from .datasets.tables import Detections as Detections
    from .datasets.tables import Tracks as Tracks
    from .datasets.tables import Tubes as Tubes
    from .datasets.tables import Videos as Videos
    from .detect.evaluation.evaluate import evaluate as evaluate
    from .detect.inference.load import load as load
    from .detect.linking.linker import link as link

_PUBLIC = {
    "datasets.errors": ("InputError",),
    "datasets.formats.registry": ("read", "write"),
    "datasets.tables": ("Actions", "Detections", "Tracks", "Tubes", "Videos"),
    "detect.evaluation.evaluate": ("evaluate",),
    "detect.inference.load": ("load",),
    "detect.linking.linker": ("link",),
}
_MODULES = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
