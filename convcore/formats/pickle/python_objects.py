"""Classes of Python itself that are data: containers, complex numbers, encoded bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from convcore.formats.archive import Opaque
from convcore.formats.pickle.reading import Reading, Rebuild
from convcore.tensors.faults import Malformed


def _pairs(reading: Reading, args: tuple[Any, ...]) -> Iterable[tuple[Any, Any]]:
    """Pairs a dictionary is made of: none, a dictionary, or a list of pairs."""
    if not args:
        return []
    if len(args) == 1 and isinstance(args[0], dict):
        reading.charged += 120 * len(args[0])
        return list(args[0].items())
    if len(args) == 1 and type(args[0]) in (list, tuple):
        reading.charged += 120 * len(args[0])
        for pair in args[0]:
            if type(pair) not in (list, tuple) or len(pair) != 2:
                raise Malformed("a dictionary is made of something that is no pair")
            reading.check_key(pair[0])
        return [(key, value) for key, value in args[0]]
    raise Malformed("a dictionary is made of unknown arguments")


def _ordered(reading: Reading, args: tuple[Any, ...]) -> OrderedDict[Any, Any]:
    reading.charged += 250
    return OrderedDict(_pairs(reading, args))


def _counter(reading: Reading, args: tuple[Any, ...]) -> dict[Any, Any]:
    return dict(_pairs(reading, args))


def _defaultdict(reading: Reading, args: tuple[Any, ...]) -> dict[Any, Any]:
    """The factory is forgotten: nothing will ever be asked of it."""
    return dict(_pairs(reading, args[1:]))


def _values(reading: Reading, args: tuple[Any, ...], what: str) -> list[Any]:
    if not args:
        return []
    if type(args[0]) not in (list, tuple, set, frozenset):
        raise Malformed(f"a {what} is made of a {type(args[0]).__name__}")
    reading.charged += 60 * len(args[0])
    return list(args[0])


def _deque(reading: Reading, args: tuple[Any, ...]) -> list[Any]:
    return _values(reading, args[:1], "deque")


def _set(reading: Reading, args: tuple[Any, ...]) -> set[Any]:
    reading.charged += 230
    return {reading.check_key(value) for value in _values(reading, args, "set")}


def _frozenset(reading: Reading, args: tuple[Any, ...]) -> frozenset[Any]:
    return frozenset(_set(reading, args))


def _list(reading: Reading, args: tuple[Any, ...]) -> list[Any]:
    return _values(reading, args, "list")


def _tuple(reading: Reading, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_values(reading, args, "tuple"))


def _dict(reading: Reading, args: tuple[Any, ...]) -> dict[Any, Any]:
    reading.charged += 100
    return dict(_pairs(reading, args))


def _encoded(reading: Reading, args: tuple[Any, ...]) -> bytes:
    """``_codecs.encode(text, 'latin1')``: bytes in a pickle of protocol 2."""
    if len(args) != 2 or type(args[0]) is not str or args[1] not in ("latin1", "latin-1"):
        raise Malformed("text is encoded by something other than latin1")
    reading.charged += 60 + len(args[0])
    return args[0].encode("latin-1")


def _bytes(reading: Reading, args: tuple[Any, ...]) -> bytes:
    """Empty bytes in a pickle of protocol 2, or a copy; never a size."""
    if not args:
        return b""
    if len(args) == 1 and type(args[0]) in (bytes, bytearray):
        reading.charged += len(args[0])
        return bytes(args[0])
    return _encoded(reading, args)


def _bytearray(reading: Reading, args: tuple[Any, ...]) -> bytearray:
    return bytearray(_bytes(reading, args))


def _complex(reading: Reading, args: tuple[Any, ...]) -> complex:
    if len(args) != 2 or not all(type(part) is float for part in args):
        raise Malformed("a complex number is not made of two floats")
    return complex(*args)


def _integers(args: tuple[Any, ...], most: int, what: str) -> tuple[Any, ...]:
    if not 1 <= len(args) <= most or not all(
        part is None or (type(part) is int and abs(part) < 1 << 63) for part in args
    ):
        raise Malformed(f"a {what} is not made of integers")
    return args


def _slice(reading: Reading, args: tuple[Any, ...]) -> slice:
    return slice(*_integers(args, 3, "slice"))


def _range(reading: Reading, args: tuple[Any, ...]) -> range:
    if None in args:
        raise Malformed("a range is not made of integers")
    return range(*_integers(args, 3, "range"))


def _reconstructed(reading: Reading, args: tuple[Any, ...]) -> Any:
    """``copyreg._reconstructor(class, base, state)``: what protocols 0 and 1 write for objects."""
    if len(args) != 3 or type(args[0]) is not Opaque:
        raise Malformed("an object is reconstructed without a class")
    made = reading.build(args[0], "reduce", ())
    if type(args[2]) in (list, tuple, set) or isinstance(args[2], dict):
        reading.charged += 80 * len(args[2])
    if isinstance(args[2], dict):
        made.items.extend(args[2].items())
    elif type(args[2]) in (list, tuple, set):
        made.items.extend(args[2])
    return made


def _new_object(reading: Reading, args: tuple[Any, ...]) -> Any:
    """``copyreg.__newobj__(class, *args)``."""
    if not args or type(args[0]) is not Opaque:
        raise Malformed("an object is made without a class")
    rebuild = reading.rebuilds.get(args[0])
    if rebuild is not None and rebuild is not _new_object:
        return rebuild(reading, args[1:])
    return reading.build(args[0], "newobj", args[1:])


def _new_object_ex(reading: Reading, args: tuple[Any, ...]) -> Any:
    """``copyreg.__newobj_ex__(class, args, kwargs)``."""
    if len(args) != 3 or type(args[0]) is not Opaque or type(args[1]) is not tuple:
        raise Malformed("an object is made without a class")
    return reading.build(args[0], "newobj_ex", args[1], reading.check_keywords(args[2]))


RECIPES: dict[tuple[str, str], Rebuild] = {
    ("collections", "OrderedDict"): _ordered,
    ("collections", "defaultdict"): _defaultdict,
    ("collections", "Counter"): _counter,
    ("collections", "deque"): _deque,
    ("_codecs", "encode"): _encoded,
    ("builtins", "set"): _set,
    ("builtins", "frozenset"): _frozenset,
    ("builtins", "list"): _list,
    ("builtins", "tuple"): _tuple,
    ("builtins", "dict"): _dict,
    ("builtins", "bytes"): _bytes,
    ("builtins", "bytearray"): _bytearray,
    ("builtins", "complex"): _complex,
    ("builtins", "slice"): _slice,
    ("builtins", "range"): _range,
    ("builtins", "xrange"): _range,
    ("copyreg", "_reconstructor"): _reconstructed,
    ("copyreg", "__newobj__"): _new_object,
    ("copyreg", "__newobj_ex__"): _new_object_ex,
}
VALUES: dict[tuple[str, str], Callable[[str, str], Any]] = {
    ("builtins", "object"): Opaque,
    ("builtins", "Ellipsis"): lambda module, name: ...,
    ("builtins", "NotImplemented"): lambda module, name: NotImplemented,
}
