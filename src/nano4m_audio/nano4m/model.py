"""FourM: one shared vocabulary table, one encoder, one decoder, no per-modality heads.

Parameter and buffer names are those of the published nano4M checkpoints. Sequences are packed, laid
end to end without padding: every linear layer works on real tokens only, and attention runs per
sample, which is exact and on a CPU several times faster than attending over padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nano4m_audio.nano4m.masking import Packed
from nano4m_audio.nano4m.settings import ModelConfig


@dataclass(frozen=True)
class Tokens:
    """Packed sequences as tensors: three int64 [n], and the length of each sample."""

    tokens: Tensor
    positions: Tensor
    modalities: Tensor
    lengths: list[int]

    @classmethod
    def of(cls, packed: Packed) -> Tokens:
        return cls(
            torch.from_numpy(packed.tokens),
            torch.from_numpy(packed.positions),
            torch.from_numpy(packed.modalities),
            packed.lengths.tolist(),
        )


def attend(q: Tensor, k: Tensor, v: Tensor, q_lengths: list[int], k_lengths: list[int]) -> Tensor:
    """Softmax attention within each sample.

    q [n, heads, head_dim], k and v [m, heads, head_dim], packed; returns [n, heads * head_dim].
    """
    if len(set(q_lengths)) == 1 and len(set(k_lengths)) == 1:  # one call for a rectangular batch
        parts = [x.unflatten(0, (len(q_lengths), -1)).transpose(1, 2) for x in (q, k, v)]
        return F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(0, 1).flatten(1)
    samples = zip(q.split(q_lengths), k.split(k_lengths), v.split(k_lengths), strict=True)
    out = [
        F.scaled_dot_product_attention(*(x.transpose(0, 1)[None] for x in qkv))[0].transpose(0, 1)
        for qkv in samples
        if len(qkv[0])
    ]
    return torch.cat(out).flatten(1)


class LayerNorm(nn.Module):
    """LayerNorm with a learned weight; its zero bias is a buffer of the published state dict."""

    bias: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.register_buffer("bias", torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.weight, self.bias, eps=1e-6)


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden, bias=False)
        self.fc2 = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SelfAttention(nn.Module):
    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.attn_out_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, lengths: list[int]) -> Tensor:
        q, k, v = self.qkv(x).unflatten(1, (3, -1, self.head_dim)).unbind(1)
        return self.attn_out_proj(attend(q, k, v, lengths, lengths))


class CrossAttention(nn.Module):
    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.attn_out_proj = nn.Linear(dim, dim, bias=False)

    def forward(
        self, x: Tensor, context: Tensor, lengths: list[int], context_lengths: list[int]
    ) -> Tensor:
        q = self.q(x).unflatten(1, (-1, self.head_dim))
        k, v = self.kv(context).unflatten(1, (2, -1, self.head_dim)).unbind(1)
        return self.attn_out_proj(attend(q, k, v, lengths, context_lengths))


class EncoderBlock(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.dim
        self.norm1 = LayerNorm(dim)
        self.attn = SelfAttention(dim, config.head_dim)
        self.norm2 = LayerNorm(dim)
        self.mlp = Mlp(dim, int(config.mlp_ratio * dim))

    def forward(self, x: Tensor, lengths: list[int]) -> Tensor:
        x = x + self.attn(self.norm1(x), lengths)
        return x + self.mlp(self.norm2(x))


class DecoderBlock(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.dim
        self.norm1 = LayerNorm(dim)
        self.query_norm = LayerNorm(dim)
        self.context_norm = LayerNorm(dim)
        self.norm2 = LayerNorm(dim)
        self.self_attn = SelfAttention(dim, config.head_dim)
        self.cross_attn = CrossAttention(dim, config.head_dim)
        self.mlp = Mlp(dim, int(config.mlp_ratio * dim))

    def forward(
        self, x: Tensor, context: Tensor, lengths: list[int], context_lengths: list[int]
    ) -> Tensor:
        x = x + self.self_attn(self.norm1(x), lengths)
        normed = self.query_norm(x), self.context_norm(context)
        x = x + self.cross_attn(*normed, lengths, context_lengths)
        return x + self.mlp(self.norm2(x))


class Stack(nn.Module):
    def __init__(self, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)


class FourM(nn.Module):
    """The nano4M encoder-decoder. ``to_logits`` starts at zero, so the first loss is log(ids)."""

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        dim, n_modalities = config.dim, len(config.modalities)
        self.pos_emb: Tensor
        self.register_buffer("pos_emb", sincos_positions(config.max_positions, dim))
        self.enc_tok_emb = nn.Embedding(config.vocab_size, dim)
        self.enc_mod_emb = nn.Embedding(n_modalities, dim)
        self.dec_mod_emb = nn.Embedding(n_modalities, dim)
        self.encoder = Stack([EncoderBlock(config) for _ in range(config.enc_depth)])
        self.decoder = Stack([DecoderBlock(config) for _ in range(config.dec_depth)])
        self.dec_context_proj = nn.Linear(dim, dim)
        self.to_logits = nn.Linear(dim, config.vocab_size, bias=False)
        self.enc_norm = LayerNorm(dim)
        self.dec_norm = LayerNorm(dim)
        self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                std = self.config.embedding_std if "_emb." in name else 0.02
                parameter.normal_(0.0, std, generator=generator)
        self.dec_context_proj.bias.zero_()
        self.to_logits.weight.zero_()

    def encode(self, inputs: Tokens) -> Tensor:
        """Encoder output after the final norm, float [n_inputs, dim]."""
        lengths = inputs.lengths
        x = self.enc_tok_emb(inputs.tokens) + self.enc_mod_emb(inputs.modalities)
        x = x + self.pos_emb[inputs.positions]
        for block in self.encoder.blocks:
            x = block(x, lengths)
        return self.enc_norm(x)

    def decode(self, encoded: Tensor, inputs: Tokens, targets: Tokens) -> Tensor:
        """Decoder features of every target, float [n_targets, dim]; target ids are not looked at.

        ``encoded`` is the output of ``encode(inputs)``; sample i of ``targets`` attends to sample i
        of ``inputs``.
        """
        context = self.dec_context_proj(encoded) + self.pos_emb[inputs.positions]
        x = self.dec_mod_emb(targets.modalities) + self.pos_emb[targets.positions]
        for block in self.decoder.blocks:
            x = block(x, context, targets.lengths, inputs.lengths)
        return self.dec_norm(x)

    def forward(self, inputs: Tokens, targets: Tokens) -> Tensor:
        """Decoder features [n_targets, dim]; ``to_logits`` turns them into scores of all ids."""
        return self.decode(self.encode(inputs), inputs, targets)


def sincos_positions(n_positions: int, dim: int) -> Tensor:
    """The fixed position table, float32 [n_positions, dim]: all sines, then all cosines."""
    half = dim // 2
    omega = 1.0 / (10000.0 ** (torch.arange(half, dtype=torch.float32) / half))
    angles = torch.arange(n_positions, dtype=torch.float32)[:, None] * omega
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def output_tables(model: FourM, mode: str) -> list[Tensor]:
    """The rows of ``to_logits`` that compete for a target of each modality.

    ``unified``: the whole table; ``own_ids``: the modality's own ids. Own tables are slices of
    slices, from the largest down, so that the backward pass fills one full-size gradient, not five.
    """
    weight, modalities = model.to_logits.weight, model.config.modalities
    if mode == "unified":
        return [weight] * len(modalities)
    tables: dict[int, Tensor] = {}
    for m in sorted(range(len(modalities)), key=lambda m: -modalities[m].vocab_size):
        size = modalities[m].vocab_size
        weight = weight if size == len(weight) else weight[:size]
        tables[m] = weight
    return [tables[m] for m in range(len(modalities))]


def token_losses(model: FourM, features: Tensor, targets: Tokens, mode: str) -> list[Tensor]:
    """Cross-entropy in nats of every target, one float vector per modality, in packed order."""
    losses = []
    for m, table in enumerate(output_tables(model, mode)):
        chosen = (targets.modalities == m).nonzero().squeeze(1)
        logits = features.index_select(0, chosen) @ table.T
        ids = targets.tokens.index_select(0, chosen)
        losses.append(F.cross_entropy(logits, ids, reduction="none"))
    return losses


def mean_loss(losses: list[Tensor]) -> Tensor:
    """The training loss: the sum over modalities of their mean, over the number of modalities.

    A modality without a target in the batch counts as 0, as in the paper.
    """
    return torch.stack([loss.mean() for loss in losses if len(loss)]).sum() / len(losses)
