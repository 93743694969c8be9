"""Classes say what their sources say, and a class of the user's own needs no more than a name."""

from __future__ import annotations

import csv
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.backends import audioset
from nano4m_audio.config.parsing import parse
from nano4m_audio.config.reading import parse_workflow
from nano4m_audio.config.schema import Config
from nano4m_audio.errors import UserError
from nano4m_audio.taxonomy import (
    SoundClass,
    class_name,
    class_names,
    known_classes,
    vggsound_config,
    vggsound_labels,
)
from tests.conftest import ROOT


def words(text: str, separator: str | None = None) -> tuple[str, ...]:
    return tuple(w.strip() for w in text.split(separator) if w.strip())


def indices(text: str) -> tuple[int, ...]:
    out: list[int] = []
    for part in text.split():
        first, _, last = part.partition("-")
        out.extend(range(int(first), int(last or first) + 1))
    return tuple(out)


def classes(value: Any) -> dict[str, Any]:
    return parse_workflow({"classes": value}).classes


def test_every_class_equals_the_reference_table(shared):
    with open(shared / "metadata/classes.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 11 and [r["class"] for r in rows] == list(class_names())
    for row in rows:
        got = known_classes()[row["class"]]
        assert got.caption == row["caption_stored"]
        assert got.prompts == (row["clip_prompt"],)
        core, other = row["audioset_names_core"], row["audioset_names_ambiguous"]
        assert got.audioset == (words(core, ";") or words(other, ";"))
        assert got.imagenet == indices(row["imagenet_core"])
        assert set(ambiguous_of(got)) == set(words(other, ";"))
        assert got.vggsound_ambiguous == words(row["vggsound_labels_other"], ";")
        assert got.vggsound == words(row["vggsound_labels_core"], ";")


def ambiguous_of(entry: SoundClass) -> list[str]:
    """The names of the AudioSet labels that may mean the class, as stated or by the ontology."""
    if entry.audioset_ambiguous is not None:
        return list(entry.audioset_ambiguous)
    ids = [mid for mid, name in audioset.labels().items() if name in entry.audioset]
    return [audioset.labels()[mid] for mid in audioset.with_kinds(ids)[1]]


def test_the_ontology_is_that_of_the_source(shared):
    nodes = json.loads((shared / "metadata/audioset/ontology.json").read_text())
    wanted = {n["id"]: tuple(sorted(n["child_ids"])) for n in nodes if n["child_ids"]}
    assert audioset.children() == wanted
    assert audioset.labels().keys() <= {n["id"] for n in nodes}


def test_kinds_of_a_sound_are_its_own_unless_other_sounds_have_them_too():
    own, shared_kinds = audioset.with_kinds(["/m/0bt9lr"])  # dog
    names = audioset.labels()
    assert {"Dog", "Bark", "Yip", "Bow-wow", "Whimper (dog)"} == {
        names[mid] for mid in own if mid in names
    }
    assert {names[mid] for mid in shared_kinds} == {"Howl", "Growling"}
    assert "/m/05tny_" not in audioset.with_kinds(["/m/0bt9lr"], {"/m/05tny_"})[0]
    everything, left = audioset.with_kinds(["/m/0jbk", "/m/0dgw9r", "/m/04rlf", "/m/059j3w"])
    assert names.keys() & everything and not left & everything


@given(st.sets(st.sampled_from(sorted(audioset.labels())), max_size=5))
def test_every_kind_below_a_sound_is_found_once(ids):
    own, other = audioset.with_kinds(ids)
    assert ids <= own and not own & other
    for mid in own | other:
        assert set(audioset.children().get(mid, ())) <= own | other
    for mid in other:
        assert set(audioset.parents()[mid]) - own


def test_vggsound_labels_are_those_of_the_source(shared):
    with open(shared / "metadata/vggsound/stat.csv", newline="") as handle:
        known = {row[0]: int(row[1]) for row in csv.reader(handle)}
    with open(shared / "metadata/classes.csv", newline="") as handle:
        counts = {r["class"]: int(r["vggsound_clips_core"]) for r in csv.DictReader(handle)}
    assert sorted(known) == list(vggsound_labels())
    for name, entry in known_classes().items():
        assert sum(known[label] for label in entry.vggsound) == counts[name]


def test_audioset_labels_are_those_of_the_source(shared):
    with open(shared / "metadata/audioset/class_labels_indices.csv", newline="") as handle:
        rows = [(row["mid"], row["display_name"]) for row in csv.DictReader(handle)]
    assert len(rows) == 527 and list(audioset.labels().items()) == rows
    for mid, name in rows:
        assert audioset.label_name(mid) == audioset.label_name(name.upper()) == name


def test_a_name_is_enough():
    frog = classes({"frog": {}})["frog"]
    assert frog == classes(["pig", {"frog": None}])["frog"] == classes({"frog": None})["frog"]
    assert (frog.caption, frog.prompts) == ("frog", ("a photo of a frog",))
    assert (frog.audioset, frog.vggsound, frog.imagenet) == (("Frog",), (), ())
    assert classes({"rooster": {}})["rooster"].audioset == ("Chicken, rooster",)
    assert classes({"frog croaking": {}})["frog croaking"].vggsound == ("frog croaking",)
    assert classes({"kettle": {}})["kettle"].audioset == ()


def test_details_take_the_place_of_defaults_one_by_one():
    own = classes({"pig": {"caption": "a pig"}, "dog": None})
    assert own["dog"] == known_classes()["dog"]
    assert own["pig"] == known_classes()["pig"].model_copy(update={"caption": "a pig"})
    frog = {"prompts": "a frog", "audioset": ["/m/09ld4", "FROG"], "imagenet": ["30-32", 7]}
    assert classes({"frog": frog})["frog"].audioset == ("Frog",)
    assert classes({"frog": frog})["frog"].prompts == ("a frog",)
    assert classes({"frog": frog})["frog"].imagenet == (30, 31, 32, 7)
    assert classes({"frog": {"audioset": []}})["frog"].audioset == ()


def test_a_file_has_classes_and_others_stand_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("frog: {caption: a frog}\nkettle:\n", "utf-8")
    assert list(classes({"file": "mine.yaml"})) == ["frog", "kettle"]
    assert list(classes({"file": "mine.yaml", "pig": {}})) == ["frog", "kettle", "pig"]
    assert list(classes(["pig", {"file": "mine.yaml"}])) == ["pig", "frog", "kettle"]
    assert list(classes({"file": {}})) == ["file"]
    Path("mine.yaml").write_text("- frog\n", "utf-8")
    with pytest.raises(UserError, match=r"file: mine.yaml: .* mapping"):
        classes({"file": "mine.yaml"})


def test_resolved_classes_are_read_back_as_they_are():
    config = parse_workflow({"classes": {"kettle": {"negatives": "a cup"}, "dog": {}, "été": {}}})
    plain = json.loads(json.dumps(config.model_dump(mode="json")))
    assert parse(Config, plain, "config") == config
    assert parse_workflow(plain) == config


def test_details_of_one_stage_are_no_more_than_it_needs():
    config = parse_workflow({"classes": {"frog": {}}})
    assert config.class_details("caption") == {"frog": {"caption": "frog"}}
    assert config.class_details("audioset") == {"frog": {"audioset": ["Frog"]}}


HOSTILE = [
    "", " frog", "frog ", "a  b", "a/b", "..", ".frog", "-frog", "a\\b", "a\nb", "a\0b", "<b>",
    "{x}", "a:b", "x" * 61, "a\u202eb", "a\u200bb", "\ud800", "frog\u00a0", "'frog", "a;b", 'a"b',
    "$HOME", "🐸",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_one_line(name):
    with pytest.raises(UserError) as caught:
        classes({name: {}, "pig": {}})
    text = str(caught.value)
    assert "is no name of a class: at most 60 letters" in text
    assert text.isprintable()


def test_names_of_all_scripts_are_kept_in_one_form():
    names = [
        "Frosch",
        "grenouille rieuse",
        "лягушка",
        "カエル",
        "हिन्दी",
        "dog bow-wow",
        "a.b (c), d's",
    ]
    assert list(classes(dict.fromkeys(names))) == [unicodedata.normalize("NFC", n) for n in names]
    with pytest.raises(UserError, match="is there twice"):
        classes({"caf\u00e9": {}, "cafe\u0301": {}})


@given(st.text())
def test_what_is_a_name_is_plain(text):
    try:
        name = class_name(text)
    except ValueError as error:
        assert str(error).isprintable()
        return
    assert name.isprintable() and name == name.strip() and 0 < len(name) <= 60
    assert not set(name) & set('/\\:;<>{}$"`|*?\0\n')
    assert class_name(name) == name


def test_the_committed_vggsound_config_is_what_its_command_writes():
    text = (ROOT / "configs/vggsound_full.yaml").read_text("utf-8")
    assert text == vggsound_config()
    found = classes(yaml.safe_load(text)["classes"])
    assert tuple(found) == vggsound_labels() and len(found) == 309
    assert sum(bool(c.audioset) for c in found.values()) > 80
    assert found["playing cello"].audioset == ("Cello",)
    assert {c.vggsound for c in found.values()} == {(label,) for label in vggsound_labels()}
