"""Damage to files, from a seed: whatever a disk, a cut transfer or an ill-meaning maker may do.

How much of it is tried is said by CHAOS: unset for a sample of seconds, 1 for the full numbers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from random import Random
from typing import NamedTuple

FULL = os.environ.get("CHAOS", "") not in ("", "0")
#: Numbers that lengths and counts are compared with, and one more or less.
EDGES = (0, 1, 7, 8, 16, 255, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
#: Boxes of MP4 that hold other boxes.
_HOLDERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"udta", b"moof"}
#: Boxes whose content is media: the others are headers, where most of the damage goes.
_BULK = {b"mdat", b"free"}

Damage = Callable[[bytes, Random], bytes]


def many(quick: int, full: int) -> int:
    """How many cases to try."""
    return full if FULL else quick


class Box(NamedTuple):
    """Where a box of an MP4 file lies: its size field, its name, and its end."""

    start: int
    name: bytes
    end: int


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """All boxes of an MP4 file, the outer ones first; none of another kind of file."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size = int.from_bytes(data[start : start + 4], "big")
        name = data[start + 4 : start + 8]
        if size < 8 or start + size > end or not name.isalnum():
            return
        yield Box(start, name, start + size)
        if name in _HOLDERS:
            yield from boxes(data, start + 8, start + size)
        start += size


def _headers(data: bytes) -> list[tuple[int, int]]:
    """Where headers lie: the boxes of an MP4 file that hold no media, or the first 4 kB."""
    found = [(b.start, b.end) for b in boxes(data) if b.name not in _BULK]
    return found or [(0, min(len(data), 4096))]


def bits(data: bytes, rng: Random) -> bytes:
    """Flip some bits, anywhere."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 4, 16, 200))):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def header_bits(data: bytes, rng: Random) -> bytes:
    """Flip some bits in headers."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 2, 8))):
        start, end = rng.choice(_headers(data))
        out[rng.randrange(start, end)] ^= 1 << rng.randrange(8)
    return bytes(out)


def header_words(data: bytes, rng: Random) -> bytes:
    """Put numbers at the edge of what is allowed in the place of four bytes of headers."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 2, 6))):
        start, end = rng.choice(_headers(data))
        at = start + rng.randrange(max(1, (end - start) // 4)) * 4
        word = (rng.choice(EDGES) + rng.choice((0, 0, 1, -1))) & 0xFFFFFFFF
        out[at : at + 4] = word.to_bytes(4, rng.choice(("big", "little")))
    return bytes(out)


def box_sizes(data: bytes, rng: Random) -> bytes:
    """Give a box of an MP4 file another size; of other files, damage headers."""
    found = list(boxes(data))
    if not found:
        return header_words(data, rng)
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 3))):
        box = rng.choice(found)
        size = rng.choice((box.end - box.start + rng.choice((-8, -1, 1, 8)), rng.choice(EDGES)))
        out[box.start : box.start + 4] = (size & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(out)


def box_order(data: bytes, rng: Random) -> bytes:
    """Remove, repeat, rename or exchange whole boxes, all sizes being right inside them."""
    found = list(boxes(data))
    if len(found) < 3:
        return swapped(data, rng)
    a, b = sorted(rng.sample(found, 2))
    how = rng.randrange(4)
    if how == 0:
        return data[: a.start] + data[a.end :]
    if how == 1:
        return data[: a.end] + data[a.start : a.end] + data[a.end :]
    if how == 2:
        return data[: a.start + 4] + b.name + data[a.start + 8 :]
    if b.start < a.end:
        return data[: a.start] + data[b.start : b.end] + data[a.end :]
    between = data[a.end : b.start]
    first, second = data[a.start : a.end], data[b.start : b.end]
    return data[: a.start] + second + between + first + data[b.end :]


def cut(data: bytes, rng: Random) -> bytes:
    """The first bytes alone, or without the first ones."""
    at = rng.choice((rng.randrange(len(data)), rng.randrange(min(len(data), 200))))
    return data[at:] if rng.random() < 0.2 else data[:at]


def swapped(data: bytes, rng: Random) -> bytes:
    """Exchange, repeat, remove or empty blocks, as a disk or a broken transfer does."""
    size = rng.choice((16, 512, 4096))
    blocks = [data[i : i + size] for i in range(0, len(data), size)]
    for _ in range(rng.choice((1, 3))):
        a, b = rng.randrange(len(blocks)), rng.randrange(len(blocks))
        how = rng.randrange(4)
        if how == 0:
            blocks[a], blocks[b] = blocks[b], blocks[a]
        elif how == 1:
            blocks.insert(a, blocks[b])
        elif how == 2 and len(blocks) > 1:
            del blocks[a]
        else:
            blocks[a] = bytes(len(blocks[a]))
    return b"".join(blocks)


def inserted(data: bytes, rng: Random) -> bytes:
    """Bytes that belong nowhere, somewhere."""
    at = rng.randrange(len(data))
    return data[:at] + rng.randbytes(rng.choice((1, 3, 64, 5000))) + data[at:]


EVERY: dict[str, Damage] = {
    damage.__name__: damage
    for damage in (
        bits, header_bits, header_words, box_sizes, box_order, cut, swapped, inserted
    )
}  # fmt: skip
#: Those that mean something for files that are no media.
PLAIN: dict[str, Damage] = {
    damage.__name__: damage for damage in (bits, header_bits, header_words, cut, swapped, inserted)
}


def damaged(data: bytes, seed: str, kinds: dict[str, Damage] = EVERY) -> bytes:
    """``data`` with one or two kinds of damage; the same for the same seed."""
    rng = Random(seed)
    for damage in rng.choices(sorted(kinds), k=rng.choice((1, 1, 1, 2))):
        data = kinds[damage](data, rng) or data[:1]
    return data
