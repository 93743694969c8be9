"""FourM: one shared vocabulary table, one encoder, one decoder, no per-modality heads.

Parameter and buffer names are those of the published nano4M checkpoints. Sequences are packed, laid
end to end: without padding (``Tokens.of``), so that every linear layer works on real tokens only,
or with it (``Tokens.padded``), as the reference does.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nano4m_audio.nano4m.attention import Tokens, attend
from nano4m_audio.nano4m.settings import ModelConfig


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

    def forward(self, x: Tensor, own: Tokens) -> Tensor:
        q, k, v = self.qkv(x).unflatten(1, (3, -1, self.head_dim)).unbind(1)
        return self.attn_out_proj(attend(q, k, v, own, own))


class CrossAttention(nn.Module):
    def __init__(self, dim: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(dim, 2 * dim, bias=False)
        self.attn_out_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, context: Tensor, own: Tokens, inputs: Tokens) -> Tensor:
        q = self.q(x).unflatten(1, (-1, self.head_dim))
        k, v = self.kv(context).unflatten(1, (2, -1, self.head_dim)).unbind(1)
        return self.attn_out_proj(attend(q, k, v, own, inputs))


class EncoderBlock(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim = config.dim
        self.norm1 = LayerNorm(dim)
        self.attn = SelfAttention(dim, config.head_dim)
        self.norm2 = LayerNorm(dim)
        self.mlp = Mlp(dim, int(config.mlp_ratio * dim))

    def forward(self, x: Tensor, own: Tokens) -> Tensor:
        x = x + self.attn(self.norm1(x), own)
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

    def forward(self, x: Tensor, context: Tensor, own: Tokens, inputs: Tokens) -> Tensor:
        x = x + self.self_attn(self.norm1(x), own)
        x = x + self.cross_attn(self.query_norm(x), self.context_norm(context), own, inputs)
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
        self.encoder = Stack([EncoderBlock(config) for _ in range(config.encoder_depth)])
        self.decoder = Stack([DecoderBlock(config) for _ in range(config.decoder_depth)])
        self.dec_context_proj = nn.Linear(dim, dim)
        self.to_logits = nn.Linear(dim, config.vocab_size, bias=False)
        self.enc_norm = LayerNorm(dim)
        self.dec_norm = LayerNorm(dim)
        self._initialise(seed)

    @torch.no_grad()
    def _initialise(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        scaled = self.config.init == "scaled"
        linear_std, embedding_std = (self.config.dim**-0.5, 1.0) if scaled else (0.02, 0.02)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                std = embedding_std if "_emb." in name else linear_std
                parameter.normal_(0.0, std, generator=generator)
        self.dec_context_proj.bias.zero_()
        self.to_logits.weight.zero_()

    def encode(self, inputs: Tokens) -> Tensor:
        """Encoder output after the final norm, float [n_inputs, dim]."""
        x = self.enc_tok_emb(inputs.tokens) + self.enc_mod_emb(inputs.modalities)
        x = x + self.pos_emb[inputs.positions]
        for block in self.encoder.blocks:
            x = block(x, inputs)
        return self.enc_norm(x)

    def decode(self, encoded: Tensor, inputs: Tokens, targets: Tokens) -> Tensor:
        """Decoder features of every target, float [n_targets, dim]; target ids are not looked at.

        ``encoded`` is the output of ``encode(inputs)``; sample i of ``targets`` attends to sample i
        of ``inputs``.
        """
        context = self.dec_context_proj(encoded) + self.pos_emb[inputs.positions]
        x = self.dec_mod_emb(targets.modalities) + self.pos_emb[targets.positions]
        for block in self.decoder.blocks:
            x = block(x, context, targets, inputs)
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
