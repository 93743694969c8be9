"""YAML that people write, before it is read: what a reader would settle in silence is said."""

from __future__ import annotations

from typing import Any

import yaml

from nano4m_audio.errors import UserError, dotted

MAX_VALUES = 200_000
_MERGE = "tag:yaml.org,2002:merge"


def check_yaml(text: str, name: str) -> None:
    """Raise UserError for what YAML settles before anyone sees a value: keys that are there twice,
    of which it drops one, and merge keys (<<) that copy mappings into mappings without measure.
    ``name`` is what errors call the text."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:  # the reader says so, unless it is JSON, which Snakemake reads
        return
    if root is None:
        return
    if twice := _key_twice(root):
        key, *lines = twice
        raise UserError(f"{name}: {key} is there twice (lines {lines[0]} and {lines[1]})")
    if _keys_of(root, {}) > MAX_VALUES:
        raise UserError(f"{name}: its merges (<<) make more than {MAX_VALUES:,} keys of it")


def _key_twice(root: yaml.Node) -> tuple[str, int, int] | None:
    """The dotted name of a key that a mapping has twice and both lines; None without one."""
    todo: list[tuple[tuple[Any, ...], yaml.Node]] = [((), root)]
    seen = set()
    while todo:
        path, node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo.extend(((*path, place), item) for place, item in enumerate(node.value))
        elif isinstance(node, yaml.MappingNode):
            lines: dict[tuple[str, str], int] = {}
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                    continue
                name, line = (key.tag, key.value), key.start_mark.line + 1
                if name in lines:
                    return dotted((*path, key.value)), lines[name], line
                lines[name] = line
                todo.append(((*path, key.value), value))
    return None


def _keys_of(node: yaml.Node, known: dict[int, int]) -> int:
    """How many keys what ``node`` merges gives it, or any mapping inside it, at most."""
    if id(node) in known or isinstance(node, yaml.ScalarNode):
        return known.get(id(node), 0)
    known[id(node)] = 0  # for a node inside itself
    if isinstance(node, yaml.SequenceNode):
        known[id(node)] = sum(_keys_of(item, known) for item in node.value)
    else:
        inner = [(key, _keys_of(value, known)) for key, value in node.value]
        merged = sum(n for key, n in inner if key.tag == _MERGE)
        known[id(node)] = max([len(inner) + merged, *(n for _, n in inner)])
    return known[id(node)]
