"""Parity with the recorded reference: same weights, same batch, same numbers."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from nano4m_audio.nano4m.attention import IGNORED, Tokens
from nano4m_audio.nano4m.data import whole
from nano4m_audio.nano4m.generate import generate
from nano4m_audio.nano4m.masking import Packed
from nano4m_audio.nano4m.model import FourM, sincos_positions
from nano4m_audio.nano4m.objective import Objective, loss_weights, token_losses
from nano4m_audio.nano4m.sampling import Sampling
from nano4m_audio.nano4m.settings import (
    Modality,
    ModelConfig,
    Numerics,
    ObjectiveConfig,
    TrainSettings,
)

SMALL = ModelConfig(
    modalities=(Modality("rgb", 64, 16), Modality("audio", 32, 32, 2), Modality("caption", 100, 8)),
    dim=32,
    encoder_depth=1,
    decoder_depth=1,
    head_dim=16,
)

#: The two kinds of objective: one vocabulary for all modalities, or one per modality.
SHARED, OWN = ObjectiveConfig(per_modality_vocab=False), ObjectiveConfig()


def batch(io, side: str) -> Packed:
    """One side of a recorded batch without its padding."""
    mask = io[f"{side}_pad_mask"]
    tokens, positions, modalities = (
        io[f"{side}_{n}"][mask] for n in ("tokens", "positions", "modalities")
    )
    return Packed(tokens, positions, modalities, mask.sum(axis=1))


def packed(io, side: str) -> Tokens:
    return Tokens.of(batch(io, side))


def both_sides(io, mode: str) -> tuple[Tokens, Tokens]:
    """Inputs and targets as a mode of training lays them out."""
    if mode == "fast":
        return packed(io, "enc"), packed(io, "dec")
    width = io["enc_pad_mask"].shape[1]
    return (
        Tokens.padded(batch(io, "enc"), width),
        Tokens.padded(batch(io, "dec"), width, IGNORED),
    )


def objective_of(
    model: FourM, mode: Any = "fast", objective: ObjectiveConfig = SHARED
) -> Objective:
    numerics = Numerics(mode=mode)
    return Objective(
        model, TrainSettings(model=model.config, objective=objective, numerics=numerics)
    )


def mean_loss(losses: list[torch.Tensor]) -> torch.Tensor:
    """The paper's loss, written down plainly."""
    return torch.stack([loss.mean() for loss in losses if len(loss)]).sum() / len(losses)


def load_golden(folder: Path):
    spec = importlib.util.spec_from_file_location("seeded", folder.parent / "seeded_weights.py")
    seeded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(seeded)
    meta = json.loads((folder / "meta.json").read_text())
    keys = json.loads((folder / "keys.json").read_text())
    config = meta["config"]
    names = zip(config["modalities"], config["vocab_sizes"], config["max_seq_lens"], strict=True)
    sizes = {k: config[k] for k in ("dim", "head_dim", "mlp_ratio")}
    sizes |= {"encoder_depth": config["enc_depth"], "decoder_depth": config["dec_depth"]}
    model = FourM(ModelConfig(modalities=tuple(Modality(*m) for m in names), **sizes))
    model.load_state_dict(seeded.fill_state_dict(keys, meta["kind_overrides"]), strict=True)
    with np.load(folder / "io.npz") as io:
        io = dict(io)
    return SimpleNamespace(model=model, meta=meta, keys=keys, io=io, noise=seeded.noise)


def check_forward(golden) -> None:
    model, io = golden.model, golden.io
    inputs, targets = packed(io, "enc"), packed(io, "dec")
    mask = io["dec_pad_mask"]
    with torch.no_grad():
        features = model(inputs, targets)
        logits = model.to_logits(features)
        at_target = logits.gather(1, targets.tokens[:, None])[:, 0]
        losses = token_losses(model, features, targets, SHARED)
    np.testing.assert_allclose(logits.logsumexp(1), io["logits_logsumexp"][mask], atol=2e-4)
    np.testing.assert_allclose(at_target, io["logits_at_target"][mask], atol=2e-4)
    means = [float(loss.mean()) for loss in losses]
    np.testing.assert_allclose(means, io["per_modality_losses"], atol=2e-5)
    assert float(mean_loss(losses)) == pytest.approx(float(io["loss"]), abs=2e-5)
    token_average = float(torch.cat(losses).mean())
    assert token_average == pytest.approx(float(io["loss_token_average"]), abs=2e-5)
    missing = [loss if m != 3 else loss[:0] for m, loss in enumerate(losses)]
    expected = float(io["loss_missing_modality"])
    assert float(mean_loss(missing)) == pytest.approx(expected, abs=2e-5)


def check_training_step(golden, mode: str) -> None:
    """Losses and gradients of the recorded batch, as the training loop computes them."""
    model, io = golden.model, golden.io
    inputs, targets = both_sides(io, mode)
    weights = loss_weights(targets.counts, "modality")
    model.zero_grad()
    loss, sums = objective_of(model, mode)(inputs, targets, weights)
    loss.backward()
    assert loss.item() == pytest.approx(float(io["loss"]), abs=2e-5)
    means = sums / torch.tensor(targets.counts)
    np.testing.assert_allclose(means, io["per_modality_losses"], atol=2e-5)
    with torch.no_grad():
        average = objective_of(model, mode)(inputs, targets, loss_weights(targets.counts, "token"))
    assert float(average[0]) == pytest.approx(float(io["loss_token_average"]), abs=2e-5)
    stored = golden.meta["gradients"]["values"]
    assert set(stored) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        norm, dot = stored[name]
        probe = torch.from_numpy(golden.noise(f"probe.{name}", tuple(parameter.shape)))
        assert float(parameter.grad.double().norm()) == pytest.approx(norm, rel=1e-3), name
        scale = norm * float(probe.norm()) / probe.numel() ** 0.5
        assert float((parameter.grad.double() * probe).sum()) == pytest.approx(
            dot, abs=1e-3 * scale
        ), name


def check_greedy_roar(golden) -> None:
    """The reference draws from all ids, whatever the modality."""
    config = golden.model.config
    every = [replace(m, vocab_size=config.vocab_size) for m in config.modalities]
    golden.model.config = config.model_copy(update={"modalities": tuple(every)})
    for name, case in golden.meta["generation"].items():
        names = golden.meta["config"]["modalities"]
        source, target = (names.index(case[key]) for key in ("source", "target"))
        tokens = golden.io[f"{name}_input_tokens"]
        given = whole(source, tokens, np.array([tokens.shape[1]]))
        sampling = Sampling(
            scheme="roar", schedule="constant", steps=case["num_steps"], temperature=0.0
        )
        order = golden.io[f"{name}_order"]
        out = generate(golden.model, given, target, sampling, np.zeros(1, int), order=order)
        np.testing.assert_array_equal(out, golden.io[f"{name}_tokens"], err_msg=name)


@pytest.fixture(scope="module")
def small(shared: Path):
    return load_golden(shared / "golden" / "nano4m_small")


def test_small_forward_matches_reference(small) -> None:
    check_forward(small)


def test_small_full_logits_and_encoder_output(small) -> None:
    io = small.io
    inputs, targets = packed(io, "enc"), packed(io, "dec")
    with torch.no_grad():
        encoded = small.model.encode(inputs)
        logits = small.model.to_logits(small.model.decode(encoded, inputs, targets))
    np.testing.assert_allclose(encoded, io["encoder_out"][io["enc_pad_mask"]], atol=2e-4)
    np.testing.assert_allclose(logits, io["logits"][io["dec_pad_mask"]], atol=2e-4)
    means = torch.stack([e.mean(0) for e in encoded.split(inputs.lengths)])
    np.testing.assert_allclose(means, io["encoder_mean_valid"], atol=2e-4)


def test_small_without_padding_masks(small) -> None:
    """The rectangular path: all positions valid, one attention call for the batch."""
    io = {**small.io}
    io["enc_pad_mask"] = np.ones_like(io["enc_pad_mask"])
    io["dec_pad_mask"] = np.ones_like(io["dec_pad_mask"])
    with torch.no_grad():
        features = small.model(packed(io, "enc"), packed(io, "dec"))
        lse = small.model.to_logits(features).logsumexp(1)
    np.testing.assert_allclose(lse, io["nomask_logits_logsumexp"].ravel(), atol=2e-4)


@pytest.mark.parametrize("mode", ["fast", "reference"])
def test_small_training_step_matches_reference(small, mode) -> None:
    check_training_step(small, mode)


def test_small_state_dict_has_the_published_keys(small) -> None:
    state = small.model.state_dict()
    assert {k: [list(v.shape), "float32"] for k, v in state.items()} == small.keys
    parameters = sum(p.numel() for p in small.model.parameters())
    assert parameters == small.meta["parameters"]


@pytest.mark.slow
def test_paper_size_matches_reference(shared: Path) -> None:
    golden = load_golden(shared / "golden" / "nano4m_d6w512")
    check_forward(golden)
    assert sum(p.numel() for p in golden.model.parameters()) == 95_838_720
    check_training_step(golden, "fast")
    check_greedy_roar(golden)
    table = sincos_positions(512, 512)
    np.testing.assert_allclose(table, golden.model.pos_emb, atol=1e-4)


def some_tokens() -> tuple[Tokens, Tokens]:
    inputs = Tokens(
        torch.tensor([1, 2, 3, 60, 5]),
        torch.tensor([0, 3, 1, 2, 7]),
        torch.tensor([0, 0, 1, 0, 2]),
        [3, 2],
    )
    targets = Tokens(
        torch.tensor([4, 31, 99, 63]),
        torch.tensor([5, 0, 1, 9]),
        torch.tensor([0, 1, 2, 0]),
        [1, 3],
    )
    return inputs, targets


def test_first_loss_is_log_of_the_ids() -> None:
    inputs, targets = some_tokens()
    model = FourM(SMALL)
    features = model(inputs, targets)
    own = [float(x.detach().mean()) for x in token_losses(model, features, targets, OWN)]
    unified = [float(x.detach().mean()) for x in token_losses(model, features, targets, SHARED)]
    np.testing.assert_allclose(own, np.log([64, 32, 100]), rtol=1e-6)
    np.testing.assert_allclose(unified, np.log([100] * 3), rtol=1e-6)


def test_a_vocabulary_per_modality_equals_the_shared_one_with_the_other_ids_forbidden() -> None:
    inputs, targets = some_tokens()
    model = FourM(SMALL, seed=3)
    with torch.no_grad():
        model.to_logits.weight.normal_(generator=torch.Generator().manual_seed(1))
        features = model(inputs, targets)
        own = token_losses(model, features, targets, OWN)
        logits = model.to_logits(features)
    for m, modality in enumerate(SMALL.modalities):
        chosen = targets.modalities == m
        scores = logits[chosen][:, : modality.vocab_size].log_softmax(1)
        expected = -scores.gather(1, targets.tokens[chosen][:, None])[:, 0]
        np.testing.assert_allclose(own[m], expected, rtol=1e-5)


@pytest.mark.parametrize("objective", [SHARED, OWN])
@pytest.mark.parametrize("mode", ["fast", "reference"])
def test_the_objective_equals_the_plain_loss(small, objective, mode) -> None:
    """Value, sums and every gradient, against autograd through the plain cross-entropy."""
    inputs, targets = both_sides(small.io, "fast")
    losses = token_losses(small.model, small.model(inputs, targets), targets, objective)
    small.model.zero_grad()
    plain = mean_loss(losses)
    plain.backward()
    expected = {name: p.grad.clone() for name, p in small.model.named_parameters()}
    small.model.zero_grad()
    weights = loss_weights(targets.counts, "modality")
    ours, sums = objective_of(small.model, mode, objective)(*both_sides(small.io, mode), weights)
    (3 * ours).backward()
    assert ours.item() == pytest.approx(plain.item(), rel=1e-6)
    np.testing.assert_allclose(sums, [float(x.detach().sum()) for x in losses], rtol=1e-5)
    for name, parameter in small.model.named_parameters():
        np.testing.assert_allclose(parameter.grad / 3, expected[name], atol=2e-6, err_msg=name)


def test_a_modality_without_targets_counts_as_nothing() -> None:
    inputs, _ = some_tokens()
    targets = Tokens(torch.tensor([4, 63]), torch.tensor([5, 9]), torch.tensor([0, 0]), [1, 1])
    loss, sums = objective_of(FourM(SMALL))(inputs, targets, loss_weights([2, 0, 0], "modality"))
    assert loss.item() == pytest.approx(np.log(100) / 3)
    assert sums.tolist() == pytest.approx([2 * np.log(100), 0, 0])


def test_samples_do_not_see_each_other() -> None:
    inputs, targets = some_tokens()
    model = FourM(SMALL, seed=1).eval()
    with torch.no_grad():
        both = model(inputs, targets)
        first, asked = (
            Tokens(side.tokens[:n], side.positions[:n], side.modalities[:n], [n])
            for side, n in ((inputs, 3), (targets, 1))
        )
        alone = model(first, asked)
    np.testing.assert_allclose(both[:1], alone, atol=1e-6)


def test_a_sample_without_targets_is_allowed() -> None:
    inputs, targets = some_tokens()
    targets = Tokens(targets.tokens, targets.positions, targets.modalities, [0, 4])
    model = FourM(SMALL, seed=1)
    mean_loss(token_losses(model, model(inputs, targets), targets, OWN)).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_head_dim_must_divide_dim() -> None:
    with pytest.raises(ValueError, match=r"multiple of head_dim \(48\)"):
        ModelConfig(modalities=SMALL.modalities, dim=64, head_dim=48)
