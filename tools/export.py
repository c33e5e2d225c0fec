"""The command `actiontubes export`."""

from __future__ import annotations

from pathlib import Path


def export(
    checkpoint: Path,
    *,
    out: Path = Path("model.onnx"),
    opset: int = 18,
    frames: int | None = None,
    given: bool = False,
) -> None:
    """Write a trained detector as ONNX, for onnxruntime, or as a program of torch.export.

    One file holds trunk, proposals and head, and the classes and sizes in its metadata, so that
    `actiontubes detect --checkpoint model.onnx` needs nothing else. Its inputs are clip (frames,
    height, width, channels; uint8 RGB), key_frames (K; float32, frames of the clip from 0) and, for
    a detector that is given people, boxes (R, 4; float32, x1 y1 x2 y2 in pixels of the clip) and
    key (R; int64, which of the key frames). Its outputs are scores (R, classes), refined_boxes (R,
    1 or classes, 4) and key_of_box (R), before non-maximum suppression. K and R are free (dynamic
    axes), all else is fixed.

    Args:
        checkpoint: A trained detector (detector.safetensors).
        out: The file to write: a name in .onnx, or in .pt2 for torch.export.
        opset: Of ONNX, 18 to 21. RoiAlign needs 16, and PyTorch writes 18.
        frames: Length of the clip. The longer it is, the more key frames share a pass through the
            network; the shortest is the detector's own (default: 32 more than the frames around
            one key frame).
        given: Leave the detector's own proposals out: people are then given.
    """
    from ..detect.detector_file import load_detector
    from ..detect.export import export_detector

    detector = load_detector(checkpoint)
    length = export_detector(detector, out, frames=frames, opset=opset, given=given)
    settings = detector.settings
    size = f"{length}x{settings.height}x{settings.width_pixels}"
    kind = f"ONNX, opset {opset}" if out.suffix == ".onnx" else "torch.export"
    print(f"{out}: {kind}, clips of {size}, {out.stat().st_size / 1e6:.1f} MB")
