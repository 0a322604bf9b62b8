"""Saying what a file is when it is no checkpoint, and what to do with it."""

from __future__ import annotations

from collections.abc import Iterable

from convcore.tensors.faults import Malformed

_STARTS: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs.github.com",
        "is a Git LFS pointer, not the file itself",
        "fetch it with: git lfs pull",
    ),
    (b"\x1f\x8b", "is packed with gzip", "unpack it first: gunzip"),
    (b"BZh", "is packed with bzip2", "unpack it first: bunzip2"),
    (b"\xfd7zXZ\0", "is packed with xz", "unpack it first: unxz"),
    (b"\x28\xb5\x2f\xfd", "is packed with zstd", "unpack it first: unzstd"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive", "unpack it and name the checkpoint inside"),
    (b"Rar!\x1a\x07", "is a RAR archive", "unpack it and name the checkpoint inside"),
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file (Keras)", "convert it to a torch state dict first"),
    (b"\x89PNG\r\n\x1a\n", "is a PNG image", "name a checkpoint file"),
    (b"\xff\xd8\xff", "is a JPEG image", "name a checkpoint file"),
    (b"GIF8", "is a GIF image", "name a checkpoint file"),
    (b"%PDF", "is a PDF document", "name a checkpoint file"),
    (b"\x93NUMPY", "is a NumPy array file", "load it and save a dictionary with torch.save"),
    (b"GGUF", "is a GGUF file", "name the checkpoint it was made from"),
    (b"\x7fELF", "is a program", "name a checkpoint file"),
    (b"SQLite format 3\0", "is an SQLite database", "name a checkpoint file"),
)
_AFTER_OPENING = tuple(bytes([mark]) for mark in b'"{[]}-0123456789')
_NO_CHECKPOINT = "name a file written by torch.save, Lightning or safetensors"


def foreign_bytes(head: bytes, size: int) -> Malformed:
    """What a file that no reader claims seems to be, by its first bytes."""
    if not size:
        return Malformed("is empty", "download or save the file again")
    if not any(head):
        return Malformed(
            "begins with nothing but zeros: it was never filled", "download or save the file again"
        )
    for start, what, remedy in _STARTS:
        if head.startswith(start):
            return Malformed(what, remedy)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return Malformed(
            "is a web page (HTML), not a checkpoint: a download gave an error or a login page",
            "open the address in a browser and download the file itself",
        )
    if text[:1] in (b"{", b"[") and text[1:].lstrip()[:1] in _AFTER_OPENING:
        return Malformed("is JSON text", "name the checkpoint beside it")
    if _looks_like_onnx(head):
        return Malformed(
            "is an ONNX graph, which is an output of convcore", "name the checkpoint it came from"
        )
    if head[:4] in (b"\x08\x01\x12\x05", b"\x08\x02\x12\x05") or b"saved_model" in head[:64]:
        return Malformed("is a TensorFlow file", "convert it to a torch state dict first")
    if _looks_like_pickle(head):
        return Malformed(
            "is a plain pickle, not a file of torch.save",
            "load it where it was made and save its state dict with torch.save",
        )
    if (
        text[:64].isascii()
        and text[:64].decode().replace("\n", " ").replace("\t", " ").isprintable()
    ):
        return Malformed("is a text file", _NO_CHECKPOINT)
    return Malformed("is of no known checkpoint format", _NO_CHECKPOINT)


def _looks_like_pickle(head: bytes) -> bool:
    return (head[:1] == b"\x80" and head[1:2] <= b"\5") or head[:2] in (b"(d", b"(l", b"cc")


def _looks_like_onnx(head: bytes) -> bool:
    # ModelProto: ir_version (field 1, varint) and then producer_name (2), opset or graph.
    return (
        head[:1] == b"\x08" and 1 <= head[1] <= 32 and head[2:3] in (b"\x12", b"\x3a", b"B", b"b")
    )


def foreign_zip(names: Iterable[str]) -> Malformed:
    """What a zip archive without ``data.pkl`` seems to be, by its record names."""
    names = list(names)
    last = {name.rsplit("/", 1)[-1] for name in names}
    if "archive_format" in last or "serialized_exported_program.json" in last:
        return Malformed(
            "is a program of torch.export, not a checkpoint",
            "save its weights: torch.save(torch.export.load(file).state_dict, …)",
        )
    if "model.json" in last or any("/code/" in name for name in names):
        return Malformed(
            "is a TorchScript program, not a checkpoint",
            "save its weights: torch.save(torch.jit.load(file).state_dict(), …)",
        )
    if "data.pkl" in last:
        return Malformed(
            "holds data.pkl, but not in one folder at its top",
            "save the checkpoint again with torch.save",
        )
    if names and all(name.endswith(".npy") for name in names):
        return Malformed("is a NumPy .npz archive", "load it and save a dictionary with torch.save")
    if "config.json" in last or any(name.endswith(".weights.h5") for name in names):
        return Malformed("is a Keras archive", "convert it to a torch state dict first")
    inside = [name for name in names if name.endswith((".ckpt", ".pt", ".pth", ".bin"))]
    if inside:
        return Malformed(
            f"is a zip archive that holds {inside[0][:80]}", "unpack it and name the file inside"
        )
    shown = ", ".join(name[:40] for name in names[:3]) or "nothing"
    return Malformed(f"is a zip archive of {shown}, not a checkpoint", _NO_CHECKPOINT)
