"""The command `actiontubes weights`."""

from __future__ import annotations

from typing import Literal


def weights(action: Literal["list", "fetch", "path"], name: str | None = None) -> None:
    """List the pretrained weights, download one, or print where it is stored.

    The cache is $ACTIONTUBES_CACHE or the user's cache folder. Files are checked against their
    SHA-256 at every use, and no code in them is ever run.

    Args:
        action: list, fetch (download) or path.
        name: Name of the weights, for fetch and path.
    """
    from ..backbones.weights.cache import CATALOG, cached_path, fetch, known_digest
    from ..datasets.errors import InputError, choose_from

    if action == "list":
        print(f"{'name':36}{'size':>12}  {'SHA-256':11}{'here':6}origin")
        for entry in CATALOG.values():
            path = cached_path(entry)
            size = path.stat().st_size if path.is_file() else entry.size
            shown = f"{size / 1e6:.1f} MB" if size else "-"
            here = "yes" if path.is_file() else "no"
            digest = known_digest(entry)[:8] or "-"
            print(f"{entry.name:36}{shown:>12}  {digest:11}{here:6}{entry.origin}")
    elif name is None:
        raise InputError(
            f"actiontubes weights {action}: needs a name; choose from {', '.join(CATALOG)}"
        )
    elif action == "fetch":
        print(fetch(name))
    elif name in CATALOG:
        print(cached_path(CATALOG[name]))
    else:
        raise InputError(f"{name}: unknown weights; {choose_from(name, CATALOG)}")
