"""Config files that are wrong in every way: a valid config, or one line; never a traceback."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from snakemake.common.configfile import load_configfile
from snakemake.exceptions import WorkflowError

from nano4m_audio.config.plain import read_yaml
from nano4m_audio.config.reading import load_config, parse_workflow
from nano4m_audio.errors import UserError
from nano4m_audio.experiments import gpus_of, train_settings
from nano4m_audio.modalities import MODALITIES
from tests.conftest import ROOT
from tests.fuzz.damage import PLAIN, damaged, many

OURS = [ROOT / "config.yaml", *sorted((ROOT / "configs").glob("*.yaml"))]
SEVERAL = settings(max_examples=many(40, 1500), derandomize=True, deadline=None)

HOSTILE: dict[str, bytes] = {
    "bomb of anchors": b"a: &a [x, x, x, x, x, x, x, x, x]\n"
    + b"".join(
        b"%c: &%c [%s]\n" % (n, n, b", ".join([b"*%c" % (n - 1)] * 9)) for n in range(98, 110)
    ),
    "anchor in itself": b"source: &a\n  b: *a\n",
    "merged with itself": b"a: &a\n  <<: *a\n",
    "bomb of merges": b"a0: &a0 {x: 1}\n"
    + b"".join(
        b"a%d: &a%d {<<: [%s]}\n" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9))
        for n in range(1, 12)
    ),
    "deep lists": b"source: " + b"[" * 1500 + b"]" * 1500,
    "deep mappings": b"".join(b" " * n + b"a:\n" for n in range(1500)),
    "a tag that runs": b"source: !!python/object/apply:os.system ['touch pwned']\n",
    "an unknown tag": b"source: !env HOME\n",
    "not UTF-8": b"source: caf\xe9\n",
    "UTF-16": "source: barnyard\n".encode("utf-16"),
    "BOM": b"\xef\xbb\xbfsource: barnyard\n",
    "NUL": b"source: barn\x00yard\n",
    "two documents": b"source: barnyard\n---\nsource: web\n",
    "a list": b"- source\n",
    "nothing": b"",
    "text": b"just words",
    "NaN": b"verdict: {audio_min: .nan}\n",
    "infinite": b"verdict: {audio_min: .inf}\n",
    "a huge whole number": b"n_shards: " + b"9" * 5000 + b"\n",
    "a huge hexadecimal number": b"n_shards: 0x" + b"f" * 20000 + b"\n",
    "a sexagesimal number": b"n_shards: 190:20:30\n",
    "a number with 4000 places": b"n_shards: 1e" + b"9" * 4000 + b"\n",
    "a bad date": b"source: 2024-13-45\n",
    "a bad time": b"source: 2024-01-01 99:99:99\n",
    "keys that are no text": b"1: 2\n? [a, b]\n: c\n",
    "one key twice": b"source: barnyard\nsource: web\n",
    "a long line": b"source: " + b"x" * 200_000 + b"\n",
    "a long key": b"x" * 100_000 + b": 1\n",
    "a set": b"source: !!set {a, b}\n",
    "bytes": b"source: !!binary aGVsbG8=\n",
    "bad base64": b"source: !!binary '%%%'\n",
    "tabs": b"source:\n\tbarnyard: 1\n",
    "directives": b"%YAML 9.9\n---\nsource: barnyard\n",
    "a surrogate": b'source: "\\ud800"\n',
}


def _as_a_run(path: Path) -> None:
    """Read and planned as the rules do it. Snakemake shows an error of its own in one line too."""
    try:
        config = parse_workflow(read_yaml(path, load_configfile))
        results = Path("results")
        config.class_details(*config.chosen_source.class_details)
        for page in (config.clip_media_settings, config.clips_page_settings):
            page(results).model_dump_json()
        config.evaluate_settings().model_dump_json()
        config.generations_settings().model_dump_json()
        for name in MODALITIES:
            config.tokenize_settings(name)
            config.backend(f"tokenize.{name}")
        for name in config.experiments:
            train_settings(config, name)
            gpus_of(config, name)
    except WorkflowError as error:
        raise UserError(str(error)) from None


def one_line(path: Path) -> str:
    """Read a config file as the commands and as a run do: "" for a valid one, else the line."""
    said = []
    for read in (load_config, _as_a_run):
        try:
            read(path)
            said.append("")
        except UserError as error:
            said.append(str(error))
    for line in said:
        assert "\n" not in line and len(line) < 2000, line[:3000]
    return said[0]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_one_line(name, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(HOSTILE[name])
    one_line(path)
    assert sorted(tmp_path.iterdir()) == [path]


def test_damaged_config_files_are_valid_or_one_line(tmp_path):
    path, valid = tmp_path / "config.yaml", 0
    for number in range(many(40, 2000)):
        data = OURS[number % len(OURS)].read_bytes()
        path.write_bytes(damaged(data, f"config {number}", PLAIN))
        valid += not one_line(path)
    assert 0 < valid < many(40, 2000)


ODD: list[Any] = [
    None, True, 0, -1, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", " ", "\x00", "a\nb",
    "$(touch x)", "../..", "é" * 300, [], {}, [[]], {"": {}}, {"a": {"b": {"c": 1}}}, [None] * 50,
    b"bytes", "0x10", "1e-4", "null", "~", "yes", "2024-01-01",
]  # fmt: skip


def _places(value: Any, path: tuple = ()) -> list[tuple]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, item in inner:
        found.append((*path, key))
        if isinstance(item, dict | list):
            found += _places(item, (*path, key))
    return found


def _mutated(values: Any, rng: random.Random) -> Any:
    """Some values exchanged, taken away, renamed, or put elsewhere."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        places = _places(values)
        if not places:
            return values
        *way, key = rng.choice(places)
        holder = values
        for step in way:
            holder = holder[step]
        how = rng.randrange(4)
        if how == 0:
            del holder[key]
        elif how == 1 and isinstance(holder, dict):
            holder[rng.choice((f"{key}s", "x" * 200, "", "__class__", str(key).upper()))] = (
                holder.pop(key)
            )
        elif how == 2:
            *other, last = rng.choice(places)
            taken = values
            for step in (*other, last):
                taken = taken[step]
            holder[key] = yaml.safe_load(yaml.safe_dump(taken))
        else:
            holder[key] = copy.deepcopy(rng.choice(ODD))
    return values


@SEVERAL
@given(seed=st.integers(0, 2**32))
def test_configs_with_wrong_values_are_valid_or_one_line(tmp_path_factory, seed):
    rng = random.Random(seed)
    values = yaml.safe_load(rng.choice(OURS).read_text())
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_text(yaml.safe_dump(_mutated(values, rng), allow_unicode=True))
    one_line(path)
