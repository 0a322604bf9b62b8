"""The process that gets everything ready, so that torch stays out of the command itself.

Started as ``python -m convcore.bench.prepare``: it converts a checkpoint, exports ONNX files that
are missing, makes the seeded inputs, and computes torch eager's outputs for them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from convcore import onnx_runtime
from convcore.bench.devices import choose_devices
from convcore.bench.machine import machine
from convcore.bench.origin import open_origin, registry_for
from convcore.bench.request import Request
from convcore.bench.subject import Subject, make_subject, wanted_graphs
from convcore.bench.sweep import check_axes
from convcore.errors import ConvcoreError, UsageError
from convcore.manifest import document as manifest
from convcore.packages import lacking, not_installed
from convcore.workers.answering import Tell, serve
from convcore.workers.messages import as_message, from_message

if TYPE_CHECKING:
    from convcore.host.registry import Registry

_PACKAGES = ("convcore", "torch", "onnxruntime", "onnxruntime-gpu", "onnx", "onnxscript", "numpy")


@attrs.frozen
class Ready:
    """Everything the measurements start from.

    Attributes:
        folder: Output folder, given or converted, that the workers load.
        subject: What is timed, for the record.
        subjects: The graphs.
        devices: Where to time them.
        notes: To be said once.
        machine: This machine.
        versions: Of the packages that matter.
        providers: Execution providers onnxruntime has.
    """

    folder: str
    subject: Mapping[str, Any]
    subjects: tuple[Subject, ...]
    devices: tuple[str, ...]
    notes: tuple[str, ...]
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    providers: tuple[str, ...]


def main() -> None:
    """Answer a request with a ``Ready``, or with an ``error`` object."""

    def answer(request: dict[str, Any], tell: Tell) -> None:
        try:
            tell(as_message(prepare(from_message(request, Request))))
        except ConvcoreError as error:
            tell({"error": error.as_dict()})
        except ModuleNotFoundError as error:
            package = lacking(error)
            if package is None:
                raise
            tell({"error": not_installed([package], "convcore bench").as_dict()})

    serve(answer)


def prepare(request: Request) -> Ready:
    """Get everything ready in the request's scratch folder.

    Raises:
        ConvcoreError: The input cannot be read or converted, a name or device is unknown.
    """
    registry = registry_for(request)
    origin = open_origin(_folder(request, registry), registry)
    graphs = wanted_graphs(origin, request.components)
    check_axes(graphs, request.sizes)
    cuda = _cuda()  # imports torch: whatever can be refused without has been
    devices, notes = choose_devices(request.devices, len(cuda), _why_no_cuda())
    subjects = tuple(make_subject(origin, graph, request) for graph in graphs)
    return Ready(
        str(origin.folder),
        {"name": origin.described.source.name, "layout": origin.described.layout},
        subjects,
        devices,
        notes,
        machine(cuda),
        _versions(),
        _providers() if "onnxruntime" in request.backends else (),
    )


def _folder(request: Request, registry: Registry) -> Path:
    """The output folder to time: the given one, or a checkpoint's, converted for the purpose.

    Raises:
        UsageError: An output folder was given with options that say how to read a checkpoint.
    """
    path = Path(request.path)
    if (path / manifest.NAME).is_file():
        given = [
            f"--{name.replace('_', '-')}" for name, value in request.conversion.items() if value
        ]
        if given:
            raise UsageError(
                f"{', '.join(given)} cannot change {path}, which has been converted already",
                remedy="time the checkpoint itself with this option, or convert it again with it",
            )
        return path.absolute()
    from convcore.engine import conversion as pipeline
    from convcore.engine.request import Request as Conversion

    output = Path(request.scratch, "converted")
    conversion = Conversion(path, output, verify="none", **request.conversion)
    pipeline.convert(conversion, registry)
    return output


def _cuda() -> tuple[str, ...]:
    import torch

    return tuple(map(torch.cuda.get_device_name, range(torch.cuda.device_count())))


def _providers() -> tuple[str, ...]:
    return tuple(onnx_runtime.load().get_available_providers())


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _why_no_cuda() -> str:
    import torch

    if torch.cuda.is_available():
        return ""
    built = torch.version.cuda
    made = f"for CUDA {built}" if built else "without CUDA"
    return f"none; torch {torch.__version__} is built {made}"


if __name__ == "__main__":
    main()
