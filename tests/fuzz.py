"""Reads damaged files through the public readers: each must give a value or an InputError.

    python tests/fuzz.py --files 100000 --seed 0

No other exception, no signal, no hang, and no more than 1 GiB of memory beyond the file's size. The
files are read in processes of their own; those that break a rule are kept. A file is fixed by seed,
reader and number: `--only act:17` reads number 17 of the reader act again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fuzz_mutations import mutate
from fuzz_readers import READERS, check_value

MEMORY = 1 << 30  # bytes that reading may take beyond the file's own size
ADDRESS_SPACE = 16 << 30  # of a reading process; a bomb must not end the machine
SECONDS = 30  # for one file
BATCH = 500  # files of a process


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, default=1000, help="over all readers")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", nargs="+", default=list(READERS), choices=list(READERS))
    parser.add_argument("--only", help="one file again, as READER:NUMBER")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        folder, first, count = options.serve
        return serve(
            options.readers[0], options.seed, Path(folder), int(first), int(count), options.keep
        )
    total = sum(READERS[name].weight for name in options.readers)
    counts = {
        name: max(1, round(options.files * READERS[name].weight / total))
        for name in options.readers
    }
    jobs = [
        (name, first, min(BATCH, counts[name] - first))
        for first in range(0, max(counts.values()), BATCH)  # so that all readers get on together
        for name in options.readers
        if first < counts[name]
    ]
    if options.only:
        name, _, number = options.only.partition(":")
        jobs = [(name, int(number), 1)]
    results: Counter[tuple[str, str]] = Counter()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends early, too, with a report
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.workers) as pool:
        for name, batches in Counter(name for name, _, _ in jobs).items():
            if batches > 1:  # the valid files are made before several processes copy them
                read_batch(name, options.seed, Path(folder), 0, 0, options.keep)
        done = pool.map(
            lambda job: read_batch(
                job[0], options.seed, Path(folder), job[1], job[2], options.keep
            ),
            jobs,
        )
        try:
            for found in done:
                results.update(found)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
    report(results)
    return int(any(result not in ("value", "refused") for _, result in results))


def report(results: Counter[tuple[str, str]]) -> None:
    kinds = sorted({result for _, result in results})
    print(f"{'':16}" + "".join(f"{kind:>12}" for kind in kinds))
    for name in [*dict.fromkeys(name for name, _ in results)]:
        print(f"{name:16}" + "".join(f"{results[name, kind]:12}" for kind in kinds))
    print(f"{'all':16}" + "".join(
        f"{sum(count for (_, result), count in results.items() if result == kind):12}"
        for kind in kinds
    ))  # fmt: skip


def read_batch(
    name: str, seed: int, folder: Path, first: int, count: int, keep: Path
) -> Counter[tuple[str, str]]:
    """Reads `count` files from number `first` on in one process, or more where one dies."""
    results: Counter[tuple[str, str]] = Counter()
    end = first + count
    while True:
        words = ["--readers", name, "--seed", seed, "--keep", keep,
                 "--serve", folder, first, end - first]  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, __file__, *map(str, words)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        )  # fmt: skip
        out, err = process.communicate()
        begun = ""
        for line in out.splitlines():
            word, _, rest = line.partition(" ")
            if word == "begin":
                begun = rest
            elif word in ("value", "refused"):
                results[name, word] += 1
                begun = ""
            elif word == "fault":
                kind = rest.split(" ", 1)[0]
                results[name, kind] += 1
                print(f"{name}:{begun.split()[0]} {rest}", flush=True)
                begun = ""
        if process.returncode == 0:
            return results
        if not begun:
            raise RuntimeError(f"{name}: {err}")
        kind = "hang" if process.returncode == -signal.SIGALRM else "signal"
        results[name, kind] += 1
        number, path = begun.split(" ", 1)
        keep_file(keep, f"{name}-{number}", Path(path))
        print(f"{name}:{number} {kind} {process.returncode}: {err[-300:]}", flush=True)
        first = int(number) + 1
        if first >= end:
            return results


def keep_file(keep: Path, start: str, path: Path) -> None:
    keep.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, keep / f"{start}-{path.name}")


def serve(name: str, seed: int, folder: Path, first: int, count: int, keep: Path) -> int:
    """The reading process: says on stdout what it begins and how that ends."""
    reader, seeds = READERS[name], folder / "seeds" / name
    if not seeds.exists():
        seeds.mkdir(parents=True)
        with contextlib.redirect_stdout(sys.stderr):
            reader.make(seeds)
    work = folder / f"work-{os.getpid()}"
    shutil.copytree(seeds, work)
    valid = set(work.rglob("*"))
    files = sorted(path for path in valid if path.is_file() and path.stat().st_size)
    contents = {path: path.read_bytes() for path in files}
    limit_memory()
    warnings.simplefilter("ignore")
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    if count:  # imports count for nothing
        check_value(reader.read(work))
    for number in range(first, first + count):
        rng = random.Random(f"{seed} {name} {number}")
        path = rng.choice(files)
        content = mutate(contents[path], path.suffix, rng, list(contents.values()))
        # Not rewritten in place: some readers remember a file by its size and time.
        path.unlink()
        path.write_bytes(content)
        print("begin", number, path, file=answer)
        before = memory(peak=False)
        result = outcome(reader.read, work, path)
        if (used := memory() - before) > MEMORY + len(content):
            result = f"fault memory {used / 2**30:.1f} GiB ({result})"
        if result.startswith("fault"):
            keep_file(keep, f"{name}-{number}", path)
        print(result, file=answer)
        path.write_bytes(contents[path])
        for other in set(work.rglob("*")) - valid:
            if other.is_file():
                other.unlink()
    shutil.rmtree(work)
    return 0


def outcome(read: object, work: Path, path: Path) -> str:
    from actiontubes.datasets.errors import InputError

    signal.alarm(SECONDS)
    try:
        check_value(read(work))  # type: ignore[operator]
    except InputError as error:
        text = str(error)
        if path.name not in text and work.name not in text and not text.startswith("--"):
            return f"fault unnamed {text[:300]!r}"
        return "refused"
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in place if f"{os.sep}fuzz" not in frame.filename]
        steps = ">".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in ours[-4:])
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return f"fault {type(error).__name__} {steps} {text}"
    finally:
        signal.alarm(0)
    return "value"


def limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


def memory(peak: bool = True) -> int:
    """The process's memory in bytes: now, from where the peak counts anew, or its peak."""
    if not peak:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    word = "VmHWM" if peak else "VmRSS"
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(word):
            return int(line.split()[1]) << 10
    return 0


if __name__ == "__main__":
    sys.exit(main())
