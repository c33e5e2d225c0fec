"""Detectors on the Hugging Face Hub, by the names hub:OWNER/NAME and hub:OWNER/NAME@REVISION."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...datasets.errors import InputError, error_line

CHECKPOINT = "detector.safetensors"
"""The file of a repository that is read; no other one is, so none of them can run code."""
_PREFIX = "hub:"
_MAX_BYTES = 8 << 30  # of a checkpoint; the largest of this project have 0.3 GB


def is_hub_name(model: str | Path) -> bool:
    """Whether a model is named as on the hub, and is no file of that name."""
    return str(model).startswith(_PREFIX) and not Path(model).exists()


def find_checkpoint(model: str | Path) -> Path:
    """The file of a model: the path itself, or a copy of what the hub has of that name.

    The hub is that of huggingface_hub, with its settings: HF_ENDPOINT is another server, HF_HOME
    where copies are kept, HF_HUB_OFFLINE=1 takes copies alone.

    Args:
        model: a path, or hub:OWNER/NAME, perhaps with @ and a branch, tag or commit.

    Raises:
        InputError: the hub has no such model, it has no detector of this project, or the hub cannot
            be reached.
    """
    if not is_hub_name(model):
        return Path(model)
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    name, _, revision = str(model).removeprefix(_PREFIX).partition("@")
    where, version = f"{_PREFIX}{name}", revision or None
    size = None
    with hub_errors(where):
        address = hf_hub_url(name, CHECKPOINT, revision=version)
        with suppress(Exception):  # offline; or what the download will say
            size = get_hf_file_metadata(address).size
        if size is not None and size > _MAX_BYTES:
            raise InputError(
                f"{where}: {CHECKPOINT} has {size / 2**30:.1f} GB, more than the "
                f"{_MAX_BYTES >> 30} GB that a detector may have"
            )
        return Path(hf_hub_download(name, CHECKPOINT, revision=version))


@contextmanager
def hub_errors(where: str) -> Iterator[None]:
    """Errors of huggingface_hub as `InputError`.

    Args:
        where: what the message begins with.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as error:
        raise InputError(f"{where}: must be OWNER/NAME, as the hub writes it") from error
    except errors.LocalEntryNotFoundError as error:
        raise InputError(
            f"{where}: the hub cannot be reached, and there is no copy of it here; check the "
            "network, HF_ENDPOINT and HF_HUB_OFFLINE"
        ) from error
    except errors.EntryNotFoundError as error:
        raise InputError(
            f"{where}: has no {CHECKPOINT}; it is not a detector of this project"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise InputError(
            f"{where}: the hub has no such model or revision, or you may not see it; check the "
            "name, and log in (`hf auth login`) for a private one"
        ) from error
    except InputError:
        raise
    except Exception as error:  # of the network, with the classes of the client that it uses
        raise InputError(f"{where}: {type(error).__name__}: {error_line(error)[:300]}") from error
