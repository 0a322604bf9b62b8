"""Throw damaged and hostile files at the reader for as long as asked, and report what escapes.

    python benchmarks/fuzz.py --seconds 60 [--seed 1] [--atheris] [--keep FOLDER]

Three entry points, one after another in every round: ``open_archive`` on containers around random
opcodes, ``open_archive`` on mutated legal files, ``read_joblib`` on mutated streams. An input is
kept for further mutation when it is refused at a line that refused none before, which leads the
campaign deeper as coverage would. A finding is anything but an answer or one ``SourceError`` within
two seconds of CPU time. ``--atheris`` lets atheris, where it is installed, choose the bytes. Exit
code 1 when there are findings.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import pickle
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from convcore.errors import ConvcoreError
from convcore.formats import as_mapping, as_plain, as_state_dict, open_archive, walk_tensors
from convcore.formats.joblib import read_joblib

_SECONDS = 2.0
_LARGEST = 1 << 16
_CORPUS = 4000
_WILD = Path(__file__).parent.parent / "tests" / "data" / "wild"
_WORDS = tuple(
    f"c{module}\n{name}\n".encode()
    for module, name in (
        ("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_tensor_v3"), ("torch._utils", "_rebuild_parameter"),
        ("torch._utils", "_rebuild_sparse_tensor"), ("torch._utils", "_rebuild_qtensor"),
        ("torch._tensor", "_rebuild_from_type_v2"), ("torch", "FloatStorage"), ("torch", "Size"),
        ("torch", "FloatTensor"), ("torch", "float32"), ("torch", "device"), ("os", "system"),
        ("torch.storage", "_load_from_bytes"), ("numpy.core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"), ("numpy", "dtype"), ("numpy", "ndarray"),
        ("numpy.core.numeric", "_frombuffer"), ("builtins", "set"), ("builtins", "bytearray"),
        ("builtins", "range"), ("copyreg", "_reconstructor"), ("_codecs", "encode"),
        ("omegaconf.dictconfig", "DictConfig"), ("argparse", "Namespace"), ("my", "Net"),
        ("joblib.numpy_pickle", "NumpyArrayWrapper"), ("pathlib", "PosixPath"),
    )
)  # fmt: skip
_TEXTS = (
    "storage", "0", "cpu", "module", "_parameters", "_modules", "_buffers", "_content", "_val",
    "conj", "neg", "f8", "O8", "U4", "<", ">", "C", "F", "latin1", "shape", "dtype", "order",
)  # fmt: skip
_BARE = b"(.012)NRQobsuaetldi}]\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94"
_TOKENS = (
    *_WORDS,
    *(b"X" + len(text).to_bytes(4, "little") + text.encode() for text in _TEXTS),
    *(bytes([code]) for code in _BARE),
    b"K\x00", b"K\x01", b"K\x04", b"M\xff\xff", b"J\xff\xff\xff\xff", b"q\x00", b"q\x01", b"h\x00",
    b"h\x01", b"C\x04PK\x03\x04", b"C\x08" + bytes(8), b"\x8a\x09" + b"\xff" * 8 + b"\x00",
    b"I1\n", b"L5L\n", b"F1.5\n", b"S'a'\n", b"Vx\n", b"p0\n", b"g0\n", b"P0\n",
    b"\x95\x08\x00\x00\x00\x00\x00\x00\x00", b"\x8b\x02\x00\x00\x00\x01\x00", b"G" + bytes(8),
)  # fmt: skip


def in_zip(pickled: bytes) -> bytes:
    """A checkpoint around a pickle, with a storage of four floats."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("m/data.pkl", pickled)
        archive.writestr("m/data/0", bytes(16))
    return buffer.getvalue()


def in_legacy(pickled: bytes) -> bytes:
    """A legacy stream around a pickle, with the same storage."""
    heads = [
        pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    ]
    return b"".join(heads) + pickled + pickle.dumps(["0"], 2) + b"\4" + bytes(7) + bytes(16)


def legal_files() -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Seeds: whole files, pickles out of them, and joblib streams."""
    import joblib
    import numpy as np
    import torch

    torch.set_num_threads(1)
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    values: list[Any] = [
        {"state_dict": module.state_dict(), "hyper_parameters": {"lr": 0.1}, "epoch": 3},
        module,
        {"views": [torch.zeros(2, 3).t(), torch.zeros(4, dtype=torch.complex64).conj()]},
        {"args": argparse.Namespace(a=1, path=Path("x/y")), "n": np.float32(1), "d": torch.float16},
        {"arrays": [np.arange(6).reshape(2, 3), np.array(["x", None], dtype=object)], "s": {1, 2}},
        [torch.eye(2).to_sparse(), torch.Size([2]), torch.device("cpu"), torch.float32],
    ]
    files, pickles, streams = [], [], []
    for value in values:
        for protocol in (2, 4):
            for modern in (True, False):
                buffer = io.BytesIO()
                torch.save(
                    value, buffer, pickle_protocol=protocol, _use_new_zipfile_serialization=modern
                )
                files.append(buffer.getvalue())
                if modern:
                    with zipfile.ZipFile(buffer) as archive:
                        pickles.append(archive.read("archive/data.pkl"))
    files += [
        path.read_bytes() for path in sorted(_WILD.glob("*")) if path.stat().st_size < _LARGEST
    ]
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    files.append(len(header).to_bytes(8, "little") + header + bytes(8))
    for value in (
        {"a": np.arange(3.0), "o": np.array([{}], dtype=object), "t": "x"},
        [np.ones((2, 2))],
    ):
        for options in ({"protocol": 2}, {"protocol": 4}, {"compress": 1}):
            buffer = io.BytesIO()
            joblib.dump(value, buffer, **options)
            streams.append(buffer.getvalue())
    return files, pickles, streams


def mutated(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """One to six changes: bits, bytes, counts, cuts, doublings, tokens, parts of another file."""
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 1, 2, 4))):
        at = chance.randint(0, len(made))
        kind = chance.randrange(9)
        if kind == 0 and at < len(made):
            made[at] ^= 1 << chance.randrange(8)
        elif kind == 1 and at < len(made):
            made[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif kind == 2:
            made[at:at] = chance.choice(_TOKENS)
        elif kind == 3:
            token = chance.choice(_TOKENS)
            made[at : at + len(token)] = token
        elif kind == 4:
            del made[at : at + chance.choice((1, 2, 8, 64))]
        elif kind == 5:
            part = made[at : at + chance.choice((1, 4, 32, 256))]
            made[at:at] = part * chance.choice((1, 2, 8))
        elif kind == 6:
            width = chance.choice((1, 2, 4, 8))
            value = chance.choice((0, 1, 255, 1 << 31, (1 << 63) - 1, chance.getrandbits(64)))
            made[at : at + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")
        elif kind == 7 and chance.random() < 0.3:
            del made[at:]
        else:
            other = chance.choice(others)
            begin = chance.randint(0, len(other))
            made[at:at] = other[begin : begin + chance.choice((4, 32, 256))]
    return bytes(made[:_LARGEST])


def use(tree: Any) -> None:
    """Do with a tree what the engine would do."""
    as_plain(tree), as_mapping(tree), as_state_dict(tree)
    left = 1 << 20
    for _, tensor in walk_tensors(tree):
        left -= tensor.nbytes
        if left < 0:
            return
        if tensor.unsupported is None:
            total = sum(len(part) for part in tensor.chunks(check=True))
            assert total == tensor.nbytes, "a tensor yields another number of bytes than it has"


def refused_at(error: BaseException) -> str:
    """The line that refused an input: the first cause of the error, and where it was raised."""
    while error.__cause__ is not None:
        error = error.__cause__
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(place.filename).name}:{place.lineno} {type(error).__name__}"


def chosen(corpus: list[bytes], legal: int, chance: random.Random) -> bytes:
    """A legal file as often as one that was kept."""
    return corpus[chance.randrange(legal if chance.random() < 0.5 else len(corpus))]


class Campaign:
    """Runs inputs and counts what became of them."""

    def __init__(self, folder: Path, keep: Path | None) -> None:
        self.path = folder / "input"
        self.keep = keep
        self.answers: Counter[str] = Counter()
        self.executions: Counter[str] = Counter()
        self.findings: dict[str, int] = {}
        signal.signal(signal.SIGPROF, self._too_slow)

    @staticmethod
    def _too_slow(number: int, frame: Any) -> None:
        raise TimeoutError(f"longer than {_SECONDS} s")

    def run(self, entry: str, data: bytes, read: Callable[[Path], Any]) -> bool:
        """Try one input; return whether its answer is new."""
        self.executions[entry] += 1
        self.path.unlink(missing_ok=True)  # ext4 flushes a file that is truncated and rewritten
        self.path.write_bytes(data)
        signal.setitimer(signal.ITIMER_PROF, _SECONDS)
        try:
            use(read(self.path))
            answer = "opened"
        except ConvcoreError as error:
            answer = refused_at(error)
        except BaseException as error:
            signal.setitimer(signal.ITIMER_PROF, 0)
            if isinstance(error, KeyboardInterrupt):
                raise
            answer = self._finding(entry, data, error)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        self.answers[answer] += 1
        return self.answers[answer] == 1

    def _finding(self, entry: str, data: bytes, error: BaseException) -> str:
        place = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{entry}: {type(error).__name__} in {Path(place.filename).name}:{place.lineno}"
        self.findings[what] = self.findings.get(what, 0) + 1
        if self.findings[what] == 1:
            print(f"FINDING {what}: {str(error)[:200]}", flush=True)
            if self.keep:
                self.keep.mkdir(parents=True, exist_ok=True)
                (self.keep / f"{len(self.findings):03}.bin").write_bytes(data)
        return what


def campaign(seconds: float, seed: int, keep: Path | None) -> Campaign:
    """Run all three entry points in turn until the time is over."""
    chance = random.Random(seed)
    files, pickles, streams = legal_files()
    known = len(files), len(pickles), len(streams)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        runs = Campaign(Path(folder), keep)
        read_tree = lambda path: open_archive(path, allow_opaque_calls=True).tree  # noqa: E731  # one line, used twice
        read_stream = lambda path: read_joblib(path, allow_opaque_calls=True)  # noqa: E731  # likewise
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            body = mutated(chosen(pickles, known[1], chance), chance, pickles)
            if chance.random() < 0.2:
                body = (
                    b"\x80\x02" + b"".join(chance.choices(_TOKENS, k=chance.randint(1, 60))) + b"."
                )
            wrap = chance.choice((in_zip, in_legacy))
            for entry, data, read, corpus, first in (
                ("opcodes", wrap(body), read_tree, pickles, known[1]),
                (
                    "files",
                    mutated(chosen(files, known[0], chance), chance, files),
                    read_tree,
                    files,
                    known[0],
                ),
                (
                    "joblib",
                    mutated(chosen(streams, known[2], chance), chance, pickles),
                    read_stream,
                    streams,
                    known[2],
                ),
            ):
                if runs.run(entry, data, read):
                    corpus.append(body if entry == "opcodes" else data)
                    if len(corpus) > _CORPUS:
                        del corpus[chance.randrange(first, len(corpus))]
    return runs


def with_atheris(seconds: float) -> None:
    """Let atheris choose the bytes; it prints its own statistics and ends the process."""
    import atheris

    folder = Path(tempfile.mkdtemp())

    def one(data: bytes) -> None:
        kind, body = data[:1], data[1:]
        path = folder / "input"
        path.write_bytes(body if kind > b"\x80" else in_zip(body))
        with contextlib.suppress(ConvcoreError):
            use(read_joblib(path) if kind > b"\xc0" else open_archive(path).tree)

    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={int(seconds)}"], one)
    atheris.Fuzz()


def main() -> int:
    """Run a campaign as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--atheris", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder for the inputs behind the findings")
    given = parser.parse_args()
    if given.atheris:
        with_atheris(given.seconds)
        return 0
    started = time.monotonic()
    runs = campaign(given.seconds, given.seed, given.keep)
    took = time.monotonic() - started
    total = sum(runs.executions.values())
    print(f"executions: {total} ({', '.join(f'{k} {v}' for k, v in runs.executions.items())})")
    print(f"seconds: {took:.0f}, {total / took:.0f} per second")
    print(f"different answers: {len(runs.answers)}, opened: {runs.answers['opened']}")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")
    print(f"findings: {len(runs.findings)}")
    for what, count in runs.findings.items():
        print(f"  {what} ({count} times)")
    return bool(runs.findings)


if __name__ == "__main__":
    raise SystemExit(main())
