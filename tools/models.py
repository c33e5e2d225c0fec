"""The command `actiontubes models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..datasets.options import at_least, greater_than


def models(
    *,
    classes: Annotated[int, at_least(1)] = 400,
    # S3D's last pooling needs two cells of stride 4 in time and of stride 16 in space.
    frames: Annotated[int, at_least(5)] = 64,
    size: Annotated[int, at_least(17)] = 224,
    width: Annotated[float, greater_than(0)] = 1.0,
    json: Path | None = None,
) -> None:
    """Show the backbones with their parameters and multiply-adds, and a detector's heads.

    Top- and bottom-heavy I3D are listed with K = Mixed_4b; write top-heavy-i3d(Mixed_3c) for
    another K. s3d-g has gates on all branches; s3d-g(temporal) has them after each temporal
    convolution.

    Args:
        classes: Number of classes of the classifier.
        frames: Frames of the clip.
        size: Height and width of the clip in pixels.
        width: Multiplier of the number of channels.
        json: Also write the rows of the backbones to this JSON file.
    """
    from ..backbones.cost import family_costs
    from ..datasets.storage.files import write_json
    from ..detect.experiments.detector_cost import head_cost_table, head_costs
    from ..detect.model.config import DetectorConfig

    rows = family_costs(classes, frames, size, width)
    head = ("name", "parameters", "paper", "multiply-adds", "paper", "time is convolved", "gates")
    print(f"{classes} classes, {frames}x{size}x{size}, width {width}; the paper's figures are for "
          "400 classes and 64x224x224")  # fmt: skip
    layout = "{:18}{:>12}{:>9}{:>15}{:>9}  {:36}{}"
    print(layout.format(*head))
    for row in rows:
        separable = " (separable)" if row["separable"] else ""
        print(
            layout.format(
                row["name"],
                _short(row["parameters"], 1e6, "M"),
                _short(row["paper_parameters"], 1e6, "M"),
                _short(row["multiply_adds"], 1e9, "G"),
                _short(row["paper_multiply_adds"], 1e9, "G"),
                f"{row['temporal']}{separable}".replace("_7x7", ""),
                row["gating"],
            )
        )
    detector = DetectorConfig(proposals="features")
    sides = "x".join(map(str, (detector.frames, *detector.size)))
    print(f"\nmultiply-adds of a detector for each frame of a video: {detector.backbone} to "
          f"{detector.endpoint}, {sides}, RPN on its features, 100 proposals")  # fmt: skip
    print(head_cost_table(head_costs(detector)))
    if json is not None:
        write_json(rows, json)


def _short(value: object, unit: float, symbol: str) -> str:
    return f"{value / unit:.2f} {symbol}" if isinstance(value, int) else "-"
