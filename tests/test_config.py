"""Every config error is one line that names the key, the value and what is allowed."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.config.command_line import read_entries
from nano4m_audio.config.curate import Verdict
from nano4m_audio.config.parsing import parse, parse_json
from nano4m_audio.config.reading import COMMON, describe, load_config, parse_workflow, rank
from nano4m_audio.config.schema import Config
from nano4m_audio.errors import UserError
from nano4m_audio.experiments import modality_table
from tests.conftest import ROOT

BAD = [
    ({"verdict": {"audio_mn": 1}}, "verdict.audio_mn: unknown key, did you mean 'audio_min'?"),
    (
        {"verdict": {"voiced_max": 0.1}},
        "verdict.voiced_max: unknown key, did you mean 'speech_max'?",
    ),
    ({"verdict": {"audio_min": 1.5}}, "verdict.audio_min = 1.5: Input should be less than"),
    (
        {"verdict": {"audio_min": "0.3"}},
        "verdict.audio_min = '0.3': Input should be a valid number",
    ),
    ({"verdict": {"audio_min": float("nan")}}, "verdict.audio_min = nan"),
    ({"verdict": 3}, "verdict = 3"),
    ({"folder": {"rot": "x"}}, "folder.rot: unknown key, did you mean 'root'?"),
    (
        {"source": "foldr"},
        "source = 'foldr': Input should be 'barnyard', 'folder', 'mirror' or 'web'",
    ),
    ({"n_shard": 2}, "n_shard: unknown key, did you mean 'n_shards'?"),
    ({"n_shards": True}, "n_shards"),
    ({"n_shards": 0}, "n_shards = 0: Input should be greater than or equal to 1"),
    ({"classes": ["pgi"]}, "unknown class 'pgi', did you mean 'pig'?"),
    ({"classes": ["pig", "pig"]}, "'pig' is there twice"),
    ({"classes": ["pgi"]}, "known: pig, sheep, "),
    ({"classes": ["pgi"]}, "to add it, write `pgi: {}` beside these under classes"),
    ({"classes": []}, "one or more different class names"),
    ({"classes": "pig"}, "classes = 'pig': a list of names, a mapping"),
    ({"classes": [3]}, "classes = (3,): unknown class '3'"),
    ({"classes": {"frog": 3}}, "classes.frog = 3: Input should be a valid dictionary"),
    ({"classes": {"frog": {"captoin": "x"}}}, "classes.frog.captoin: unknown key, did you mean"),
    ({"classes": {"frog": {"caption": ""}}}, "classes.frog.caption = '': String should have"),
    ({"classes": {"frog": {"prompts": ["a\nb"]}}}, "'a\\nb': one line of printable text"),
    ({"classes": {"frog": {"audioset": "Frogg"}}}, "label 'Frogg', did you mean 'Frog'?"),
    ({"classes": {"frog": {"vggsound": "frog"}}}, "unknown VGGSound label 'frog'"),
    ({"classes": {"frog": {"imagenet": [1000]}}}, "classes.frog.imagenet.0 = 1000: Input should"),
    ({"classes": {"file": "no.yaml"}}, "classes: file: no.yaml: no such config file"),
    (
        {"experiments": {"base": {"model": {"dmi": 64}}}},
        "experiments.base.model.dmi: unknown key, did you mean 'dim'?",
    ),
    (
        {"experiments": {"base": {"lr": 0.1}}},
        "experiments.base.lr: unknown key: in a file, write optim: {lr: ...}",
    ),
    ({"experiments": {"base": {"optim": {"warmup_steps": 20000}}}}, "(20000) is above steps"),
    ({"experiments": {"base": {"preset": "dmo"}}}, "'dmo' is unknown, did you mean 'demo'?"),
    ({"experiments": {"base": {"preset": {"a": 1}}}}, "preset: {'a': 1} is unknown"),
    ({"experiments": {"base": {"model": {"size": []}}}}, "size: one of d5w384"),
    ({"experiments": {"base": {"preset": "demo", "model": 3}}}, "experiments.base.model = 3"),
    ({"experiments": {"base": {"model": {"dim": 48, "head_dim": 32}}}}, "experiments.base"),
    ({"experiments": {"a/b": {}}}, "'a/b': names of letters"),
    ({"experiments": {}}, "at least one experiment"),
    (
        {"score": {"audio": {"backend": "minni"}}},
        "score.audio: unknown backend 'minni', did you mean",
    ),
    ({"score": {"audio": {"backend": None}}}, "verdict.audio_min needs the scores"),
    ({"split": {"fractions": [0.8, 0.1, 0.2]}}, "split.fractions = (0.8, 0.1, 0.2): three shares"),
    ({"tokenize": {"caption_template": "{caption.__class__}"}}, "tokenize.caption_template"),
    ({"compute": {"device": "gpu"}}, "compute.device = 'gpu': Input should be 'auto', 'cpu'"),
    ({"compute": {"dtype": "half"}}, "compute.dtype.score = 'half': Input should be 'float32'"),
    ({"compute": {"dtype": {"scor": "float16"}}}, "scor: unknown key, did you mean 'score'?"),
    ({"report": {"experiment": "bas"}}, "did you mean 'base'?"),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_bad_values_are_one_clear_line(values, message):
    with pytest.raises(UserError) as caught:
        parse(Config, values, "config.yaml")
    text = str(caught.value)
    assert text.startswith("config.yaml: ")
    assert message in text
    assert "\n" not in text


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*Config.model_fields, "x", "audio", "min"]), inner)
        ),
        max_leaves=12,
    )
)
def test_any_value_is_valid_or_one_line(values):
    try:
        parse(Config, values, "config.yaml")
    except UserError as error:
        assert "\n" not in str(error)


def nested(depth: int) -> dict:
    return {"a": nested(depth - 1)} if depth else {}


SHAPES = [
    ({"verdict": {1: 2}}, "config: verdict: the key 1 is not text: put it in quotes"),
    ({True: 1}, "config: the key True is not text"),
    ({"barnyard": {"seed": 2**64}}, "barnyard.seed = a whole number of 65 bits: at most"),
    ({"barnyard": {"seed": -(10**5000)}}, "barnyard.seed = a whole number of"),
    ({"split": {"fractions": [float("nan")] * 3}}, "split.fractions.2 = nan: a finite number"),
    ({"evaluate": {"confidence": float("-inf")}}, "evaluate.confidence = -inf: a finite number"),
    (nested(900), "config: a.a.a...: nested more than 20 levels deep"),
    ({"classes": ["pig"] * 300_000}, "config: more than 200,000 values"),
    ({"classes": ["p" * 10**6]}, "unknown class 'ppp"),
    ({"experiments": {"a" * 200: {}}}, "names of at most 150 characters"),
    ({"a\nb": 1}, "'a\\nb': unknown key"),
    ({"verdict.audio_min": 1}, "unknown key: in a file, write verdict: {audio_min: ...}"),
]


@pytest.mark.parametrize(("values", "message"), SHAPES)
def test_what_no_section_can_hold_is_one_short_line(values, message):
    with pytest.raises(UserError) as caught:
        parse_workflow(values)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text and len(text) < 700


def test_values_that_contain_themselves_are_one_line():
    values: dict = {}
    values["verdict"] = values
    with pytest.raises(UserError, match="nested more than 20 levels"):
        parse_workflow(values)


def read_plain(entries: list[str]) -> dict:
    key, _, text = entries[0].partition("=")
    return {key: yaml.load(text, yaml.BaseLoader)}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (["verdict.audio_min=0.5"], {"verdict": {"audio_min": 0.5}}),
        (["verdict.audio_min=null", "verdict={visual_min: 0.1}"],
         {"verdict": {"audio_min": None, "visual_min": 0.1}}),
        (["folder.root={a} 'b' #c"], {"folder": {"root": "{a} 'b' #c"}}),
        (["folder.root=2024", "folder.clips_csv=null"],
         {"folder": {"root": "2024", "clips_csv": None}}),
        (["folder={root: 2024, clips_csv: null}"], {"folder": {"root": "2024", "clips_csv": None}}),
        (["experiments.base.optim.lr=1e-4", "experiments.base.masking.input_tokens=[1, 9]"],
         {"experiments": {"base": {"optim": {"lr": 1e-4}, "masking": {"input_tokens": [1, 9]}}}}),
        (["grids.a.vary={model.dim: [64, 128]}"],
         {"grids": {"a": {"vary": {"model.dim": [64, 128]}}}}),
        (["compute.dtype=float16"], {"compute": {"dtype": "float16"}}),
        (["score.audio.backend=null", "verdict.audio_min=null"],
         {"score": {"audio": {"backend": None}}, "verdict": {"audio_min": None}}),
    ],
)  # fmt: skip
def test_keys_on_the_command_line(entries, expected):
    given = parse_workflow(read_entries(entries, read_plain))
    assert given == parse(Config, expected, "config")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["verdict.audio_min=abc"], "verdict.audio_min = 'abc': Input should be a valid number"),
        (["verdict.audio_min=40"], "verdict.audio_min = 40: Input should be less than or equal"),
        (["verdict={audio_min: 40}"], "verdict.audio_min = 40: Input should be less than or equal"),
        (["verdict.audio_mn=1"], "verdict.audio_mn: unknown key, did you mean 'audio_min'?"),
        (["verdict.audio_min"], "--config 'verdict.audio_min': KEY=VALUE"),
        (
            ["verdict={audio_min: 0.3, audio_min: 0.5}"],
            "--config verdict: audio_min is there twice (lines 1 and 1)",
        ),
        (
            ["experiments.base={optim: {lr: 1, lr: 2}}"],
            "--config experiments.base: optim.lr is there twice",
        ),
        (["verdict..x=1"], "--config 'verdict..x=1': KEY=VALUE"),
        (["=1"], "--config '=1': KEY=VALUE"),
        (["source.x=1"], "source: Input should be 'barnyard'"),
        (["barnyard.seed=99999999999999999999999"], "barnyard.seed = a whole number of 77 bits"),
        (["barnyard.fps=.nan"], "barnyard.fps = nan: a finite number is wanted"),
        (["n_shards=2", "n_shards=3"], "n_shards is given twice"),
        (["verdict=3", "verdict.audio_min=1"], "verdict is given twice"),
        (["verdict.audio_min=1", "verdict={audio_min: 0}"], "verdict.audio_min is given twice"),
    ],
)
def test_wrong_keys_on_the_command_line_are_one_line(entries, message):
    with pytest.raises(UserError) as caught:
        parse_workflow(read_entries(entries, read_plain))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@given(st.floats(0, 1), st.none() | st.floats(-1, 1), st.integers(1, 9999))
def test_text_and_values_mean_the_same(audio, visual, shards):
    values = {"n_shards": shards, "verdict": {"audio_min": audio, "visual_min": visual}}
    text = {
        "n_shards": str(shards),
        "verdict": {k: "null" if v is None else repr(v) for k, v in values["verdict"].items()},
    }
    assert parse_workflow(text) == parse_workflow(values)


def test_settings_come_from_a_file_as_well(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text('{"audio_min": 0.25}')
    assert parse_json(Verdict, str(path)) == parse_json(Verdict, '{"audio_min": 0.25}')
    path.write_text("{" * 100_000)
    for text in (str(path), "{" * 100_000, str(tmp_path), "x\0y", "", "a" * 10_000):
        with pytest.raises(UserError, match="--settings") as caught:
            parse_json(Verdict, text)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_null_threshold_is_allowed():
    assert parse(Verdict, {"audio_min": None}, "x").audio_min is None


def test_whole_numbers_are_fine_for_decimals():
    assert parse(Verdict, {"audio_min": 1}, "x").audio_min == 1.0


@pytest.mark.parametrize("text", ["{", "[1]", "3", '{"audio_mn": 1}'])
def test_settings_on_the_command_line_meet_the_same_checks(text):
    with pytest.raises(UserError, match="--settings"):
        parse_json(Verdict, text)


@pytest.mark.parametrize("content", ["a: [", "- a", "\xff", "verdict: {audio_min: 2}"])
def test_bad_files_are_one_line(tmp_path, content):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match=r"bad\.yaml"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n_shards: 2\nseed: 1\nn_shards: 3", "n_shards is there twice (lines 1 and 3)"),
        ("verdict:\n  audio_min: 0.3\n  audio_min: 0.5", "verdict.audio_min is there twice"),
        ("a: [{b: 1, 'b': 2}]", "a.0.b is there twice (lines 1 and 1)"),
        ('{"n_shards": 2, "n_shards": 3}', "n_shards is there twice"),
    ],
)
def test_a_key_that_is_there_twice_is_an_error(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_key_may_be_there_once_in_every_mapping_and_override_what_is_merged(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "classes:\n  a: &a {caption: one}\n  b: {<<: *a, caption: two}\n  c: {<<: *a}\n"
    )
    captions = {name: entry.caption for name, entry in load_config(path).classes.items()}
    assert captions == {"a": "one", "b": "two", "c": "one"}


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such config file"):
        load_config(tmp_path / "none.yaml")


def test_every_key_is_explained():
    rows = describe()
    assert len(rows) > 50
    assert [key for key, _, meaning in rows if not meaning] == []


def test_common_keys_are_keys():
    assert {rank(key) for key, _, _ in describe()} == set(range(len(COMMON) + 1))


@pytest.mark.parametrize("name", ["config.yaml", "configs/folder.yaml", "configs/paper.yaml"])
def test_our_own_files_are_valid(name):
    load_config(ROOT / name)


def test_one_dtype_is_meant_for_all_stages():
    config = parse(Config, {"compute": {"dtype": "bfloat16"}}, "config")
    assert {config.dtype(key) for key in config.backends()} == {"bfloat16"}
    config = parse(Config, {"compute": {"dtype": {"label": "float16"}}}, "config")
    assert config.dtype("label.depth") == "float16" and config.dtype("score.audio") == "float32"
    assert parse(Config, config.model_dump(mode="json"), "config") == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"tokenize": {"rgb": "trained:rbg"}},
            "tokenize.rgb = 'trained:rbg': 'rbg' is not in tokenizers, did you mean 'rgb'?",
        ),
        (
            {"tokenize": {"rgb": "trained:depth"}},
            "tokenize.rgb = 'trained:depth': tokenizers.depth is for depth",
        ),
        ({"quality": {"depth": ["mni"]}}, "quality.depth: unknown backend 'mni'"),
        ({"tokenize": {"audio": "trained:rgb"}}, "tokenize.audio: unknown backend 'trained:rgb'"),
        ({"tokenizers": {"a": {"modality": "rgb", "levels": [300]}}}, "tokenizers.a.levels"),
        ({"tokenizers": {"a": {"modality": "rgb", "levels": [256] * 3}}}, "<= 65536"),
        ({"tokenizers": {"a-b": {"modality": "rgb"}}}, "letters, digits and _ only"),
        ({"tokenizers": {"a": {}}}, "tokenizers.a.modality: this key is required"),
    ],
)
def test_tokenizers_are_checked(values, message):
    with pytest.raises(UserError) as caught:
        parse(Config, values, "config")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_vocabulary_of_the_model_is_that_of_the_trained_tokenizer():
    own = {"modality": "rgb", "levels": [4, 4, 4]}
    config = parse(Config, {"tokenizers": {"own": own}, "tokenize": {"rgb": "trained:own"}}, "c")
    sizes = {row["name"]: row["vocab_size"] for row in modality_table(config)}
    assert (sizes["rgb"], sizes["depth"], sizes["caption"]) == (64, 1024, 50304)
    assert config.measured_tokenizers("rgb") == ["trained:own"]


def test_numbers_that_snakemake_passes_as_text_are_read():
    given = {"n_shards": 3, "verdict": {"visual_min": "0.39", "speech_max": "null"}}
    found = parse_workflow(given)
    assert (found.n_shards, found.verdict.visual_min, found.verdict.speech_max) == (3, 0.39, None)
    with pytest.raises(UserError, match="verdict.visual_min = 'abc'"):
        parse_workflow({"verdict": {"visual_min": "abc"}})
    assert parse_workflow({"folder": {"root": "2024"}}).folder.root == "2024"
