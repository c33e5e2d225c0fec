"""What several live sources are called, and running them side by side."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from ....datasets.errors import InputError
from ....datasets.video_names import unique_names
from .run import LiveSummary


def is_file(source: str) -> bool:
    """Whether a source is a file, and not a camera's number or an address."""
    return not source.isdigit() and "://" not in source


def name_sources(sources: Sequence[str]) -> list[str]:
    """A name for each source, without a password: door, camera-0, host_path.

    Raises:
        InputError: a source is given twice, or two have the same name.
    """
    files = [Path(source) for source in sources if is_file(source)]
    of_files = dict(zip(map(str, files), unique_names(files)))
    names = [of_files.get(str(Path(each)), "") or _name_device(each) for each in sources]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise InputError(
                f"{sources[index]}: would have the name of {sources[names.index(name)]}, {name}; "
                "give each source once"
            )
    return names


def _name_device(source: str) -> str:
    if source.isdigit():
        return f"camera-{int(source)}"
    address = urlsplit(source)
    place = address.netloc.rpartition("@")[2] + address.path
    return re.sub(r"[^\w.-]+", "_", place).strip("_.") or "stream"


def run_together(
    runs: Sequence[Callable[[], LiveSummary]],
) -> list[LiveSummary | Exception]:
    """Runs several sources in threads until all have ended; what each returns, or its error."""
    results: list[LiveSummary | Exception] = [LiveSummary() for _ in runs]

    def work(index: int) -> None:
        try:
            results[index] = runs[index]()
        except Exception as error:  # no source stops the others
            results[index] = error

    threads = [Thread(target=work, args=(index,), daemon=True) for index in range(len(runs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
