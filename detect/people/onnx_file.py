"""ONNX files from elsewhere: read and checked before onnxruntime runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...datasets.errors import InputError
from ...datasets.storage.files import EXTRA_MEMORY
from ...datasets.storage.isolated import isolated_reader


def read_metadata(path: Path) -> dict[str, str]:
    """The model's metadata properties.

    Raises:
        InputError: as `_load`.
    """
    return {entry.key: entry.value for entry in _load(path).metadata_props}


def load_model(path: Path) -> Any:
    """The file's `onnx.ModelProto`, checked.

    Raises:
        InputError: as `_load`, or no valid model.
    """
    from onnx import checker

    model = _load(path)
    try:
        checker.check_model(model)
    # ValueError: what the checker says holds text of the file that is not UTF-8.
    except (checker.ValidationError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a valid ONNX model ({reason}); export it again") from error
    return model


def input_shape(model: Any, path: Path) -> tuple[int | None, ...]:
    """The shape of the model's first input that is no initializer; None where a side is free.

    Raises:
        InputError: the model has no inputs.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in weights:
            sides = [side.dim_value for side in value.type.tensor_type.shape.dim]
            return tuple(side if side > 0 else None for side in sides)
    raise InputError(f"{path}: the ONNX model has no input tensor")


def with_free_shape(model: Any) -> Any:
    """A copy of the model that declares no sides of its inputs, outputs and inner tensors."""
    free = type(model).FromString(model.SerializeToString())
    del free.graph.value_info[:]
    for value in (*free.graph.input, *free.graph.output):
        for number, side in enumerate(value.type.tensor_type.shape.dim):
            side.dim_param = f"{value.name}{number}"
    return free


def open_session(content: bytes, path: Path, *, device: str = "cpu", threads: int = 0) -> Any:
    """The onnxruntime session of a model; its weights are never looked for in other files.

    Args:
        content: the model, of `load_model`.
        path: the file, for messages.
        device: "cpu" or "cuda".
        threads: 0 is one for each core.

    Raises:
        InputError: onnxruntime cannot load it, or does not support the device.
    """
    import onnxruntime

    provider = "CPUExecutionProvider"
    if device.startswith("cuda"):
        provider = "CUDAExecutionProvider"
        if provider not in onnxruntime.get_available_providers():
            raise InputError(
                "--device cuda: this onnxruntime has no CUDA support; pip install "
                "onnxruntime-gpu, or use --device cpu"
            )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is an exception, too
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(content, options, providers=[provider])
    # The exceptions of onnxruntime have no other base class in common.
    except Exception as error:
        raise InputError(
            f"{path}: onnxruntime cannot load it ({short_reason(error)}); export it again"
        ) from error


def isolated_attempt(function: Callable[..., Any], path: Path, *arguments: Any) -> Any:
    """What a function of a module makes of a model and plain values, in another process.

    Some bytes may ask onnxruntime for any amount of memory, and what crashes it ends the process.
    """
    with isolated_reader(function, memory=EXTRA_MEMORY, copies=4) as attempt:
        return attempt(path, *arguments)


def try_loading(path: Path) -> None:
    """Opens a session and drops it, for `isolated_attempt`."""
    open_session(path.read_bytes(), path)


def short_reason(error: Exception) -> str:
    """The first words of a long message, in one line."""
    return " ".join(str(error).split())[:200]


def _load(path: Path) -> Any:
    """The file's `onnx.ModelProto`. External data, which could name any file, is never read.

    Raises:
        InputError: no such file, damaged, no ONNX model, or one with external data.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise InputError(f"{path}: file not found")
    try:
        model = onnx.load(path, format="protobuf", load_external_data=False)
        if not model.HasField("graph"):
            raise ValueError("no graph")
        texts = [text for entry in model.metadata_props for text in (entry.key, entry.value)]
        if not all(isinstance(text, str) for text in texts):  # else protobuf gives bytes
            raise ValueError("metadata that is not UTF-8")
        external = any(
            message.external_data or message.data_location == onnx.TensorProto.EXTERNAL
            for message in _messages(model)
            if isinstance(message, onnx.TensorProto)
        )
    except (DecodeError, ValueError) as error:
        raise InputError(f"{path}: damaged, or not an ONNX model; export it again") from error
    if external:
        raise InputError(
            f"{path}: its weights are in other files, which are never opened for safety; export "
            "the model as a single file"
        )
    return model


def _messages(message: Any) -> Iterator[Any]:
    """The message and all below it: tensors also stand in attributes, functions and subgraphs."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for below in [value] if hasattr(value, "ListFields") else value:
                yield from _messages(below)
