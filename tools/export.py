"""The command `actiontubes export`."""

from __future__ import annotations

from pathlib import Path


def export(
    checkpoint: Path,
    *,
    out: Path = Path("model.onnx"),
    opset: int = 18,
    frames: int | None = None,
    external_proposals: bool = False,
) -> None:
    """Export a trained detector to ONNX (for onnxruntime) or torch.export.

    One file contains the backbone, proposals and head; class names and sizes are in its metadata,
    so `actiontubes detect --checkpoint model.onnx` needs nothing else. Inputs are clip (frames,
    height, width, channels; uint8 RGB), key_frames (K; float32, frames of the clip from 0) and, for
    a detector with external proposals, boxes (R, 4; float32, x1 y1 x2 y2 in pixels of the clip)
    and key (R; int64, which of the key frames). Outputs are scores (R, classes), refined_boxes (R,
    1 or classes, 4) and key_of_box (R), before non-maximum suppression. The numbers of key frames
    (K) and boxes (R) are dynamic; everything else is fixed.

    Args:
        checkpoint: A trained detector (detector.safetensors).
        out: Output file, ending in .onnx or .pt2 (torch.export).
        opset: ONNX opset, 18 to 21.
        frames: Frames of the exported clip. More frames let more key frames share one pass; the
            minimum is the detector's own clip length. Default: room for 64 key frames, as
            `actiontubes detect` uses them.
        external_proposals: Export without the detector's own proposals; person boxes become an
            input.
    """
    from ..detect.inference.export import export_detector
    from ..detect.model.checkpoint import load_detector, load_sections

    detector = load_detector(checkpoint)
    length = export_detector(
        detector, out, frames=frames, opset=opset, external_proposals=external_proposals,
        sections=load_sections(checkpoint),
    )  # fmt: skip
    size = f"{length}x{detector.config.height}x{detector.config.width}"
    kind = f"ONNX, opset {opset}" if out.suffix == ".onnx" else "torch.export"
    print(f"{out}: {kind}, clips of {size}, {out.stat().st_size / 1e6:.1f} MB")
