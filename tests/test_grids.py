"""Grids become experiments with deterministic names, and every mistake is one line."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.config.grids import members
from nano4m_audio.config.parsing import parse
from nano4m_audio.config.reading import load_config
from nano4m_audio.config.schema import Config
from nano4m_audio.errors import UserError
from nano4m_audio.experiments import train_settings
from nano4m_audio.nano4m.masking import draw_counts
from nano4m_audio.nano4m.plan import draw_plan
from nano4m_audio.nano4m.settings import SIZES
from tests.conftest import ROOT

VARY = {"model.size": ["d5w384", "d6w512"], "data.train_clips": [10, None]}


def config(**values) -> Config:
    return parse(Config, values, "config")


def test_every_combination_is_an_experiment_with_the_values_of_its_base():
    found = config(
        experiments={"base": {"model": {"dim": 64}, "optim": {"steps": 7, "warmup_steps": 1}}},
        grids={"s": {"vary": VARY}},
    ).experiments
    assert list(found) == [
        "base",
        "s_d5w384_train_clips_10",
        "s_d5w384_train_clips_none",
        "s_d6w512_train_clips_10",
        "s_d6w512_train_clips_none",
    ]
    small = found["s_d5w384_train_clips_10"]
    assert (small.model.dim, small.model.encoder_depth, small.model.head_dim) == (384, 5, 64)
    assert (small.data.train_clips, small.optim.steps) == (10, 7)
    assert found["s_d6w512_train_clips_none"].data.train_clips is None


def test_a_resolved_config_resolves_to_itself():
    first = config(grids={"s": {"vary": VARY}, "t": {"vary": {"masking.input_alpha": [0.2, 1]}}})
    assert parse(Config, json.loads(first.model_dump_json()), "again") == first
    assert "t_input_alpha_0p2" in first.experiments


def test_an_experiment_that_is_written_out_wins():
    mine = {"base": {}, "s_dim_64": {"model": {"dim": 128, "head_dim": 32}}}
    found = config(experiments=mine, grids={"s": {"vary": {"model.dim": [64]}}}).experiments
    assert found["s_dim_64"].model.dim == 128


def test_a_width_replaces_the_size_of_the_base_and_keeps_its_depth():
    grid, base = {"s": {"vary": {"model.dim": [128]}}}, {"model": {"size": "d8w640"}}
    found = config(experiments={"base": base}, grids=grid).experiments["s_dim_128"].model
    assert (found.dim, found.encoder_depth, found.size) == (128, 8, None)


def test_keys_change_a_preset():
    """A size replaces its widths and depths; the grid's keys change those of the experiment."""
    base = {"preset": "demo", "optim": {"steps": 90}}
    vary = {"model.size": ["d5w384"], "optim.lr": [0.5, 0.001]}
    found = config(experiments={"base": base}, grids={"s": {"vary": vary}}).experiments
    plain, varied = found["base"], found["s_d5w384_lr_0p5"]
    assert (plain.optim.steps, plain.optim.warmup_steps, plain.model.dim) == (90, 40, 64)
    assert (varied.optim.steps, varied.optim.lr, varied.model.dim) == (90, 0.5, 384)
    assert varied.masking == plain.masking and varied.model.init == "scaled"


def test_presets_are_laid_over_each_other():
    base = {"preset": ["demo", "single_source"], "optim": {"steps": 90}}
    demo = config(experiments={"base": {"preset": "demo"}}).experiments["base"]
    both = config(experiments={"base": base}).experiments["base"]
    assert (both.masking.single_source_prob, both.masking.condition_dropout) == (0.5, 0.1)
    assert both.masking.mixture == demo.masking.mixture and both.model == demo.model
    assert (both.optim.steps, both.optim.lr) == (90, demo.optim.lr)
    with pytest.raises(UserError, match="preset: '4m8' is unknown, did you mean '4m7'"):
        config(experiments={"base": {"preset": ["demo", "4m8"]}})


@pytest.mark.parametrize(
    ("preset", "one_source"),
    [
        ("4m7", (0.495, 0.52)),
        ("4m21", (0.33, 0.45)),
        ("single_source", (0.5, 0.65)),
        ("curriculum", (0.2, 0.6)),
    ],
)
def test_masks_of_a_preset(preset, one_source):
    """They fit the modalities, ask for all of them, and have so many samples of which one modality
    is 95 % of the input or more."""
    settings = train_settings(config(experiments={"base": {"preset": preset}}), "base")
    modalities, batch = settings.model.modalities, 8000
    lengths = np.tile([m.max_tokens for m in modalities], (batch, 1))
    plan = draw_plan(np.random.default_rng(0), modalities, settings.masking, batch)
    inputs, targets = draw_counts(
        np.random.default_rng(1), modalities, settings.masking, lengths, plan
    )
    low, high = one_source
    assert low < (inputs.max(axis=1) >= 0.95 * inputs.sum(axis=1)).mean() < high
    assert (targets.sum(axis=1) > 0).all() and (targets > 0).any(axis=0).all()
    if preset == "4m7":
        only_rgb = inputs[:, 1:].sum(axis=1) == 0
        assert only_rgb.mean() == pytest.approx(0.5, abs=0.02)
        assert (targets[only_rgb, 1:].mean(axis=0) > 5).all()


@pytest.mark.parametrize("size", SIZES)
def test_sizes_are_valid_models(size):
    settings = train_settings(config(experiments={"base": {"model": {"size": size}}}), "base")
    depth, dim = map(int, re.fullmatch(r"d(\d+)w(\d+)", size).groups())
    assert (settings.model.encoder_depth, settings.model.dim) == (depth, dim)


def test_the_paper_size_has_the_parameters_of_the_paper():
    from nano4m_audio.nano4m.model import FourM

    model = FourM(train_settings(load_config(ROOT / "configs/paper.yaml"), "base").model)
    assert sum(p.numel() for p in model.parameters()) == 95_838_720


scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(0.001, 9) | st.text(max_size=4)


@given(st.dictionaries(st.sampled_from(["dim", "lr", "size"]), st.lists(scalars, max_size=3)))
def test_names_are_safe_unique_and_cover_the_product(vary):
    try:
        found = members("g", vary)
    except ValueError as error:
        assert "\n" not in str(error)
        return
    total = 1
    for values in vary.values():
        total *= len(values)
    assert len(found) == total
    assert all(re.fullmatch(r"\w+", name, re.ASCII) for name in found)


BAD = [
    ({"grids": 3}, "grids = 3: Input should be a valid dictionary"),
    ({"grids": {"s": {"vray": {}}}}, "grids.s.vray: unknown key, did you mean 'vary'?"),
    ({"grids": {"s": {"vary": {"model.dim": 3}}}}, "grids.s.vary.model.dim = 3"),
    (
        {"grids": {"s": {"vary": {"model.dmi": [1]}}}},
        "grids.s.vary.model.dmi: unknown key of an experiment, did you mean 'model.dim'?",
    ),
    ({"grids": {"s": {"vary": {"model.dim": [33]}}}}, "experiments.s_dim_33.model.dim = 33"),
    ({"grids": {"s": {"vary": {}}}}, "grids.s.vary: at least one key"),
    ({"grids": {"s": {"vary": {"model.dim": [64, 64]}}}}, "two combinations are called 's_dim_64'"),
    ({"grids": {"s": {"vary": {"optim.seed": list(range(999))}}}}, "999 experiments, more than"),
    (
        {"grids": {"s": {"base": "x", "vary": {"model.dim": [64]}}}},
        "grids.s.base = 'x' is not in exp",
    ),
    ({"grids": {"a/b": {"vary": {"model.dim": [64]}}}}, "names of letters"),
    (
        {"experiments": {"base": {"model": {"size": "d1w1"}}}},
        "size: one of d5w384, d6w512, d8w640, d12w768",
    ),
    (
        {"experiments": {"base": {"model": {"size": "d5w384", "dim": 64}}}},
        "size d5w384 has dim 384, not 64",
    ),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_mistakes_are_one_line(values, message):
    with pytest.raises(UserError) as caught:
        config(**values)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "count"), [("table2", 7), ("scaling", 16), ("grid_demo", 4)])
def test_our_own_studies_are_valid(name, count):
    assert len(load_config(ROOT / "configs" / f"{name}.yaml").experiments) == count + 1
