"""The detector's benchmark: its figures are complete and agree with each other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from actiontubes.detect.experiments import benchmark_detector as benchmark
from actiontubes.detect.experiments.benchmark_detector import (
    Workload,
    benchmark_detector,
    benchmark_table,
    count_flops,
)
from actiontubes.detect.experiments.benchmark_videos import STAGES
from actiontubes.detect.inference.device import has_native_bfloat16
from actiontubes.tools.main import main
from torch import nn

TINY = Workload(
    "s3d", "Mixed_3c", frames=8, height=32, width=48, repeats=2, steps=2, hidden=16
)  # fmt: skip


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """The figures."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads of small layers mostly wait for each other
    try:
        return benchmark_detector(TINY)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
def test_figures_agree(measured) -> None:
    result = measured
    assert result["device"] == "cpu" and result["workload"]["endpoint"] == "Mixed_3c"
    dense, training = result["dense"], result["train"]
    variants = {"in_memory", "external", "features", "resnet50", "resnet50_step_4"}
    assert set(dense["end_to_end_fps"]) == variants
    assert set(dense["end_to_end_ratio"]) == variants - {"in_memory"}
    assert set(dense["stages"]) == {"external", "features", "resnet50"}
    for source, stages in dense["stages"].items():
        shares = {stage: stages[stage] for stage in STAGES}
        assert sum(shares.values()) == pytest.approx(1) and min(shares.values()) > 0, source
        assert shares[stages["limit"]] == max(shares.values())
    rows = training["runs"]
    half = has_native_bfloat16("cpu")
    assert set(rows) == {"ours", "torchvision"} | ({"ours, bfloat16"} if half else set())
    runtimes = dense["runtimes"]
    assert runtimes["precision"] == ("bf16" if half else "no")
    assert set(runtimes["fps"]) == set(runtimes["times_float32"]) == {"float32", "auto"}
    assert runtimes["times_float32"]["float32"] == 1
    assert rows["torchvision"]["ratio"] == 1
    assert training["clips_per_second"] == pytest.approx(1 / rows["ours"]["seconds"])
    assert training["torchvision_clips_per_second"] == rows["torchvision"]["clips_per_second"]
    assert training["ratio"] == rows["ours"]["ratio"]
    assert training["loss_difference"] < 1e-4, "the same function"
    assert training["run_clips_per_second"] == pytest.approx(2 / training["run_seconds"])


@pytest.mark.slow
def test_the_command_prints_and_writes_them(measured, monkeypatch, capsys, tmp_path: Path) -> None:
    result = measured
    workloads: list[Workload] = []
    monkeypatch.setattr(
        benchmark,
        "benchmark_detector",
        lambda workload: workloads.append(workload) or result,
    )
    path = tmp_path / "figures.json"
    options = ["--endpoint", "Mixed_3c", "--frames", "8", "--width", "48", "--repeats", "2"]
    threads = str(torch.get_num_threads())
    command = ["benchmark", "detector", *options, "--threads", threads, "--json", str(path)]
    assert main(command) == 0
    expected = Workload("s3d-g", "Mixed_3c", frames=8, height=320, width=48, repeats=2)
    assert workloads == [expected]
    assert capsys.readouterr().out.strip() == benchmark_table(result)
    assert json.loads(path.read_text()) == result


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--height", "50"], "--size 50 400: height and width must be multiples of 16"),
        (["--endpoint", "Mixed_9z"], "--endpoint Mixed_9z: s3d-g has no such layer"),
        (["--backbones", "s4d"], "--backbone s4d: unknown network"),
        (["--device", "cuda"], "--device cuda: PyTorch finds no GPU on this machine"),
    ],
)
def test_bad_options_are_refused(options, why, monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    threads = str(torch.get_num_threads())
    assert main(["benchmark", "detector", "--threads", threads, *options]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"actiontubes benchmark: {why}")


def test_a_multiply_add_is_two_operations() -> None:
    layer, x = nn.Conv2d(3, 5, 3, bias=False), torch.zeros(2, 3, 6, 7)
    forward = 2 * (2 * 4 * 5) * 5 * (3 * 3 * 3)
    assert count_flops(lambda: layer(x)) == forward
    # Backward once more for the weights; the input needs no gradient.
    assert count_flops(lambda: layer(x).sum().backward()) == 2 * forward
