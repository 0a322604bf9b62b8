"""How much a file may ask of the machine that reads it: one table, checked before allocating."""

from __future__ import annotations

import attrs

from convcore.noun import Noun

MIB = 1 << 20


@attrs.frozen(eq=False, repr=False)
class Budgets(Noun):
    """Limits of one file's reading; ``attrs.evolve`` makes another table.

    Attributes:
        pickle_bytes: One pickle; a checkpoint of 10,000 keys needs 1 MB.
        opcodes: Pickle opcodes of the whole file; 100,000 optimizer states need about 4 million.
        stack: Values on the pickle stack.
        marks: Open MARKs.
        memo: Memo entries.
        text_bytes: One string or bytes object.
        names: Different classes and functions named.
        object_bytes: Estimated memory of all objects the pickles make.
        integer_bytes: One binary integer.
        integer_digits: One textual integer or float.
        depth: Nesting of anything walked, converted or used as a key.
        nodes: Nodes of a walked tree, shared parts counted each time they are met.
        odd_keys: Dictionary keys whose hash a file can choose (huge integers, tuples).
        key_work: Comparisons that such keys may cause.
        nested_pickles: Pickles inside bytes inside pickles.
        dotted_name: Characters of a tensor's dotted name.
        zip_entries: Entries of an archive.
        name_bytes: One record name.
        small_record: Records such as ``version`` and ``byteorder``.
        inflate_ratio: Inflated bytes per packed byte; deflate itself cannot exceed it.
        inflated_bytes: One packed record that has to be inflated into memory as a whole.
        dimensions: Axes of a tensor.
        json_bytes: A safetensors header or an index file.
        shards: Files of one sharded checkpoint.
    """

    pickle_bytes: int = 64 * MIB
    opcodes: int = 5_000_000
    stack: int = 500_000
    marks: int = 100_000
    memo: int = 2_000_000
    text_bytes: int = 64 * MIB
    names: int = 10_000
    object_bytes: int = 192 * MIB
    integer_bytes: int = 1024
    integer_digits: int = 1000
    depth: int = 1000
    nodes: int = 1_000_000
    odd_keys: int = 4096
    key_work: int = 10_000_000
    nested_pickles: int = 2
    dotted_name: int = 10_000
    zip_entries: int = 200_000
    name_bytes: int = 1024
    small_record: int = 64
    inflate_ratio: int = 1032
    inflated_bytes: int = 128 * MIB
    dimensions: int = 64
    json_bytes: int = 100 * MIB
    shards: int = 1024


DEFAULT_BUDGETS = Budgets()
