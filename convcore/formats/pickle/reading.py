"""What the pickles of one file share: names met, alarms raised, budgets used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from convcore.formats.archive import Opaque
from convcore.formats.budgets import Budgets
from convcore.formats.pickle.alarms import is_alarming
from convcore.tensors.faults import Malformed

Rebuild = Callable[["Reading", tuple[Any, ...]], Any]

# Where Python 2, older torch and older or newer NumPy keep what we recognise under its other name.
_MOVED = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "torch.tensor": "torch._tensor",
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
    "pathlib._local": "pathlib",
}


class Reading:
    """One file's reading, over all pickles in it.

    Attributes:
        file: How messages call the file.
        budgets: Limits.
        nesting: How many pickles deep inside bytes this one lies.
        recipes: What may be rebuilt as data: canonical ``(module, name)`` to a function.
        rebuilds: The same by the ``Opaque`` that stands for the name.
        nested: Reads a torch file inside a bytes object.
        resolve: Finds the storage where a pickle describes it without a persistent id (some tars).
        built: How often each unknown name was built into an object.
        opcodes: Opcodes run.
        charged: Estimated bytes of the objects made.
    """

    __slots__ = (
        "alarms",
        "allow_opaque_calls",
        "budgets",
        "built",
        "charged",
        "file",
        "key_work",
        "met",
        "names",
        "nested",
        "nesting",
        "odd_keys",
        "opcodes",
        "rebuilds",
        "recipes",
        "resolve",
        "specs",
        "values",
    )

    def __init__(
        self,
        file: object,
        recipes: Mapping[tuple[str, str], Rebuild],
        values: Mapping[tuple[str, str], Callable[[str, str], Any]],
        budgets: Budgets,
        *,
        allow_opaque_calls: bool = False,
        nesting: int = 0,
    ) -> None:
        self.file = file
        self.recipes = recipes
        self.values = values
        self.budgets = budgets
        self.allow_opaque_calls = allow_opaque_calls
        self.nesting = nesting
        self.nested: Callable[[Reading, bytes], Any] | None = None
        self.resolve: Callable[[Any], Any] | None = None
        self.names: dict[tuple[str, str], Any] = {}
        self.rebuilds: dict[Any, Rebuild] = {}
        self.met: dict[str, int] = {}
        self.built: dict[str, int] = {}
        self.alarms: dict[str, int] = {}
        self.specs: dict[Any, Any] = {}
        self.opcodes = self.charged = self.odd_keys = self.key_work = 0

    def name(self, module: str, name: str) -> Any:
        """The value that stands for a global: a recognised constant, or an ``Opaque``."""
        pair = (module, name)
        known = self.names.get(pair)
        if known is None:
            known = self.names[pair] = self._first(module, name)
        elif type(known) is Opaque and known.qualified_name in self.met:
            self.met[known.qualified_name] += 1
        return known

    def _first(self, module: str, name: str) -> Any:
        for part in (module, name):
            if not 0 < len(part) <= 1000 or not part.isprintable():
                raise Malformed(f"the name {part[:60]!r} is empty, too long or not printable")
        if len(self.names) >= self.budgets.names:
            raise Malformed(f"names more than {self.budgets.names} different classes and functions")
        self.charged += 500
        canonical = (_MOVED.get(module, module), name)
        value = self.values.get(canonical)
        if value is not None:
            return value(*canonical)
        known = Opaque(module, name)
        rebuild = self.recipes.get(canonical)
        if rebuild is not None:
            self.rebuilds[known] = rebuild
            return known
        self.met[known.qualified_name] = 1
        if is_alarming(*canonical):
            self.alarms[known.qualified_name] = 1
        return known

    def build(self, known: Opaque, how: str, args: tuple[Any, ...], kwargs: Any = None) -> Opaque:
        """An object of a class or function that stays unknown."""
        self.charged += 400
        qualified = known.qualified_name
        self.built[qualified] = self.built.get(qualified, 0) + 1
        return Opaque(known.module, known.name, how, args, kwargs or {})

    def opaque(self) -> dict[str, int]:
        """Names met and not imported: how many objects each made, or how often it was named."""
        return {
            name: self.built.get(name) or self.met.get(name, 1)
            for name in {**self.met, **self.built}
        }

    def refuse_alarms(self) -> None:
        """Refuse a file that names what runs code.

        Raises:
            Malformed: ``unsafe``, with every such name.
        """
        if self.alarms and not self.allow_opaque_calls:
            first = next(iter(self.alarms))
            raise Malformed(
                f"names {first}, which runs code when unpickled elsewhere (nothing was run here)",
                "do not load this file with torch or pickle; --allow-opaque-calls takes its"
                " tensors without running anything",
                kind="unsafe",
                seen=self.alarms,
            )

    def audit(self) -> None:
        """Compare what was used with the budgets."""
        if self.opcodes > self.budgets.opcodes:
            raise Malformed(f"holds more than {self.budgets.opcodes} pickle opcodes")
        if self.charged > self.budgets.object_bytes:
            raise Malformed(
                f"makes more than {self.budgets.object_bytes >> 20} MiB of objects, tensors aside"
            )

    def check_key(self, key: Any) -> Any:
        """Return a dictionary key or set element after proving that hashing it is cheap.

        Hashing a tuple is recursive in C and its result can be chosen by the file, as can that of
        an integer beyond 2**61: both are few in real checkpoints.

        Raises:
            Malformed: A key that cannot be hashed, or too many of the costly ones.
        """
        kind = type(key)
        if kind is str or kind is bytes:
            return key
        if kind is int and -(1 << 60) < key < 1 << 60:
            self.key_work += self.odd_keys
        elif kind is int or kind is tuple or kind is frozenset or kind is complex:
            self._check_odd_key(key)
        elif kind in (list, dict, set, bytearray) or isinstance(key, dict):
            raise Malformed(f"a {kind.__name__} is used as a dictionary key")
        if self.key_work > self.budgets.key_work:
            raise Malformed("its dictionary keys are chosen to collide")
        return key

    def check_keywords(self, keywords: Any) -> dict[str, Any]:
        """Return keyword arguments after proving that they are few and named by text."""
        if type(keywords) is not dict or len(keywords) > 1000:
            raise Malformed("keyword arguments are no small dictionary")
        if not all(type(key) is str for key in keywords):
            raise Malformed("keyword arguments are not named by text")
        self.charged += 10 * len(keywords)
        return keywords

    def _check_odd_key(self, key: Any) -> None:
        self.odd_keys += 1
        self.key_work += self.odd_keys
        if self.odd_keys > self.budgets.odd_keys:
            raise Malformed(f"more than {self.budgets.odd_keys} tuples or huge integers are keys")
        level: list[Any] = [key]
        size = 0
        for _ in range(50):
            parts = [part for part in level if type(part) in (tuple, frozenset)]
            if not parts:
                return
            size += sum(map(len, parts))
            if size > 1000:
                break
            level = [item for part in parts for item in part]
            for item in level:
                if type(item) in (list, set, bytearray) or isinstance(item, dict):
                    raise Malformed(f"a tuple with a {type(item).__name__} is used as a key")
        raise Malformed("a dictionary key is nested too deeply or too large")
