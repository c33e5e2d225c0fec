"""Damaged copies of small valid files, for fuzz.py: damaged bytes, text and content."""

from __future__ import annotations

import copy
import io
import json
import pickle
import random
import re
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

NUMBERS = (
    "nan", "inf", "-inf", "-1", "0", "0.5", "1e308", "1e12", "-1e-9", "2147483648", "4294967295",
    "9223372036854775808", "99999999999999999999999", "", "x", "0x10", "1_000", "1,5", "9" * 5000,
)  # fmt: skip
VALUES = (
    None, True, False, 0, -1, 1, 3, 0.5, float("nan"), float("inf"), 2**31, 2**63, 10**12, 10**400,
    -(10**12), "", "x", "é\ud800", "../../x", "9" * 5000, "x" * 100_000, b"", b"\xff", [], {}, (),
    [None], [[1, 2], 3], [[[[]]]], {"x": 1}, {1: [2]}, {None: None},
)  # fmt: skip


def mutate(content: bytes, suffix: str, rng: random.Random, others: list[bytes]) -> bytes:
    """A damaged copy.

    Args:
        content: the valid file.
        suffix: of its name, for damage to what it says rather than to its bytes.
        rng: decides all.
        others: more valid files, of which pieces may be inserted.
    """
    kind = rng.random()
    if suffix in _FORMS and kind < 0.4:
        load, dump = _FORMS[suffix]
        try:
            return dump(change_content(load(content), rng))
        except Exception:  # not everything can be written in every form
            pass
    if suffix in (".csv", ".txt", ".json", ".yaml") and kind < 0.8:
        return change_text(content, rng)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = change_bytes(content, rng, others)
    return content


def change_bytes(content: bytes, rng: random.Random, others: list[bytes]) -> bytes:
    data = bytearray(content)
    size = len(data)
    at = rng.randrange(size + 1)
    span = min(size - at, rng.choice((1, 2, 4, 8, 16, 64, 256, size)))
    match rng.randrange(9):
        case 0:
            for _ in range(rng.choice((1, 1, 2, 8, 32))):
                if size:
                    data[rng.randrange(size)] ^= 1 << rng.randrange(8)
        case 1:
            del data[at:]
        case 2:
            del data[at : at + span]
        case 3:
            data[at:at] = data[at : at + span] * rng.choice((1, 2, 100))
        case 4:
            data[at:at] = rng.randbytes(span)
        case 5:
            data[at : at + span] = rng.randbytes(span)
        case 6:
            data[at : at + span] = bytes([rng.choice((0, 255, 127, 128))]) * span
        case 7:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            data[at : at + span] = other[start : start + span]
        case 8:
            number = rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1))
            width = rng.choice((4, 8))
            packed = number.to_bytes(8, "little")[:width]
            data[at : at + width] = packed if rng.random() < 0.5 else packed[::-1]
    return bytes(data)


def change_text(content: bytes, rng: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    lines = text.splitlines(keepends=True) or [""]
    row = rng.randrange(len(lines))
    other = rng.randrange(len(lines))
    match rng.randrange(10):
        case 0 | 1:
            spots = list(re.finditer(r"-?\d+(\.\d+)?", text))
            if spots:
                spot = rng.choice(spots)
                return f"{text[: spot.start()]}{rng.choice(NUMBERS)}{text[spot.end() :]}".encode()
        case 2:
            del lines[row]
        case 3:
            lines.insert(other, lines[row])
        case 4:
            lines[row], lines[other] = lines[other], lines[row]
        case 5:
            old = rng.choice(",;:[]{}\"' \n")
            new = rng.choice((";", "\t", "", ",,", '"', "\0", "\r", "\x0c", "[" * 2000, "&a *a"))
            return text.replace(old, new, rng.choice((1, 3, -1))).encode()
        case 6:
            fields = [line.rstrip("\n").split(",") for line in lines]
            column = rng.randrange(max(map(len, fields)))
            for line in fields:
                del line[column : column + 1]
            return "\n".join(map(",".join, fields)).encode()
        case 7:
            coding = rng.choice(("utf-16", "utf-16-le", "latin-1", "utf-8-sig", "utf-32"))
            return text.replace("a", "é").encode(coding, "replace")
        case 8:
            lines[row] = rng.choice((lines[row].upper(), f" {lines[row]}", lines[row] * 500, "\n"))
        case 9:
            words = re.findall(r"\w+", text) or [""]
            return text.replace(rng.choice(words), rng.choice(words), rng.choice((1, -1))).encode()
    return "".join(lines).encode()


def change_content(content: Any, rng: random.Random) -> Any:
    """The content with one of its values replaced, left out, repeated or renamed."""
    content = copy.deepcopy(content)
    holder: list[Any] = [content]
    spots: list[tuple[Any, Any]] = [(holder, 0)]
    for place, key in spots:
        if len(spots) > 5000:
            break
        value = place[key]
        if isinstance(value, (dict, list)):
            keys = list(value) if isinstance(value, dict) else range(len(value))
            spots.extend((value, one) for one in keys)
    # Half the time near the root, where few values stand.
    place, key = rng.choice(spots if rng.random() < 0.5 else spots[: max(3, len(spots) // 50)])
    match rng.randrange(6):
        case 0 if place is not holder:
            del place[key]
        case 1 if isinstance(place, list) and place is not holder:
            place.insert(key, place[rng.randrange(len(place))])
        case 1 if isinstance(place, dict):
            place[rng.choice(VALUES[1:18])] = place.pop(key)
        case 2 | 3 | 4:
            place[key] = change_value(place[key], rng)
        case _:
            place[key] = rng.choice(VALUES)
    return holder[0]


def change_value(value: Any, rng: random.Random) -> Any:
    """Another value of the same kind, such as an array of another shape or type."""
    if isinstance(value, np.ndarray):
        match rng.randrange(7):
            case 0:
                return value.reshape(-1)[: rng.randrange(value.size + 1)]
            case 1:
                return value.T
            case 2:
                return value[..., None] if rng.random() < 0.5 else value[None]
            case 3:
                kinds = ("u1", "i2", "f4", "f8", "c16", "?", "O", "U", "S3")
                return value.astype(rng.choice(kinds))
            case 4:
                return np.concatenate([value, value]) if value.ndim else value
            case _:
                changed = value.copy()
                if changed.size and changed.dtype.kind in "fiu":
                    spot = rng.randrange(changed.size)
                    extremes = (np.nan, np.inf, -1, 1e12, 2.5, 255)
                    with np.errstate(all="ignore"):
                        changed.reshape(-1)[spot] = np.array(rng.choice(extremes)).astype(
                            changed.dtype
                        )
                return changed
    if isinstance(value, (bool, type(None))):
        return rng.choice(VALUES)
    if isinstance(value, (int, float)):
        return rng.choice((-value, value + 1, value * 1000, float(value), value + 0.5, str(value)))
    if isinstance(value, str):
        return rng.choice((value.upper(), value + " ", value[1:], value * 2, value.encode(), "é"))
    if isinstance(value, tuple):
        return rng.choice((list(value), value[1:], value * 2, value[::-1], (value, value)))
    if isinstance(value, list):
        return rng.choice((tuple(value), value[1:], value * 2, value[::-1], [value]))
    if isinstance(value, dict):
        return rng.choice((list(value.items()), list(value), {1: value}, {}))
    return rng.choice(VALUES)


def _load_mat(content: bytes) -> Any:
    from scipy.io import loadmat
    from scipy.io.matlab import mat_struct

    def plain(value: Any) -> Any:
        if isinstance(value, mat_struct):
            return {name: plain(getattr(value, name)) for name in value._fieldnames}
        if isinstance(value, np.ndarray) and value.dtype == object:
            return [plain(each) for each in value]
        return value

    read = loadmat(io.BytesIO(content), squeeze_me=True, struct_as_record=False)
    return {key: plain(value) for key, value in read.items() if not key.startswith("__")}


def _dump_mat(content: Any) -> bytes:
    from scipy.io import savemat

    def cells(value: Any) -> Any:
        if isinstance(value, list):
            array = np.empty(len(value), object)
            array[:] = [cells(each) for each in value]
            return array
        return {key: cells(each) for key, each in value.items()} if type(value) is dict else value

    file = io.BytesIO()
    savemat(file, cells(content))
    return file.getvalue()


def _load_parquet(content: bytes) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(content)).to_pydict()


def _dump_parquet(content: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    columns = {str(key): pa.array(value) for key, value in content.items()}
    names = [name.rstrip(" ") for name in columns]  # so that two may be the same
    pq.write_table(pa.Table.from_arrays(list(columns.values()), names), file)
    return file.getvalue()


def _load_safetensors(content: bytes) -> Any:
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    inside = header.get("__metadata__", {})
    for key, value in inside.items():
        inside[key] = json.loads(value)
    return {"header": header, "data": content[8 + size :]}


def _dump_safetensors(content: Any) -> bytes:
    header = content["header"]
    inside = header.get("__metadata__", {})
    for key, value in inside.items():
        inside[key] = json.dumps(value)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content["data"]


def _load_torch(content: bytes) -> Any:
    import torch

    return torch.load(io.BytesIO(content), weights_only=True)


def _dump_torch(content: Any) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def _load_onnx(content: bytes) -> Any:
    from google.protobuf.json_format import MessageToDict
    from onnx import ModelProto

    return MessageToDict(ModelProto.FromString(content))


def _dump_onnx(content: Any) -> bytes:
    from google.protobuf.json_format import ParseDict
    from onnx import ModelProto

    return ParseDict(content, ModelProto()).SerializeToString()


def _load_yaml(content: bytes) -> Any:
    import yaml

    return yaml.safe_load(content)


def _dump_yaml(content: Any) -> bytes:
    import yaml

    return yaml.safe_dump(content).encode()


def _load_png(content: bytes) -> Any:
    """The chunks: what zlib and checksums protect cannot be damaged from outside."""
    chunks, at = [], 8
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        chunks.append([content[at + 4 : at + 8], list(content[at + 8 : at + 8 + min(size, 64)]),
                       content[at + 8 + min(size, 64) : at + 8 + size]])  # fmt: skip
        at += 12 + size
    return chunks


def _dump_png(content: Any) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, start, rest in content:
        data = bytes(int(each) % 256 for each in start) + rest
        parts += [struct.pack(">I", len(data)), name, data,
                  struct.pack(">I", zlib.crc32(name + data))]  # fmt: skip
    return b"".join(parts)


_FORMS: dict[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = {
    ".json": (json.loads, lambda content: json.dumps(content).encode()),
    ".pkl": (pickle.loads, pickle.dumps),
    ".mat": (_load_mat, _dump_mat),
    ".parquet": (_load_parquet, _dump_parquet),
    ".safetensors": (_load_safetensors, _dump_safetensors),
    ".pt": (_load_torch, _dump_torch),
    ".onnx": (_load_onnx, _dump_onnx),
    ".yaml": (_load_yaml, _dump_yaml),
    ".png": (_load_png, _dump_png),
}
