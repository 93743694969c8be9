"""Checkpoints of the real architectures with seeded random weights, in the upstream formats.

They stand in for the published files where there is no network: tests compare our path with the
upstream packages on them, and speed does not depend on values. Weights are drawn so that outputs
differ between inputs, which a plain random start of deep networks does not give.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn


def upstream_panns() -> Any:
    """The module panns_inference.models without its package's __init__, which downloads a file."""
    if "panns_inference" not in sys.modules:
        spec = importlib.util.find_spec("panns_inference")
        package = types.ModuleType("panns_inference")
        package.__path__ = list(spec.submodule_search_locations or [])
        sys.modules["panns_inference"] = package
    return importlib.import_module("panns_inference.models")


def _calibrate(net: nn.Module, last: nn.Linear, run: Callable[[], Any]) -> None:
    """Give batch norms the statistics of one forward pass, so that signals neither die nor grow,
    and the outputs of the last layer a standard deviation of 2."""
    norms = [m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0, 0.3)
    net.train()
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    logits: list[torch.Tensor] = []
    hook = last.register_forward_hook(lambda module, inputs, output: logits.append(output))
    with torch.no_grad():
        run()
        last.weight *= 2 / logits[0].std()
    hook.remove()
    net.eval()


def panns_cnn14(folder: Path) -> nn.Module:
    """Write Cnn14_mAP=0.431.pth and return the package's own network with these weights."""
    torch.manual_seed(1)
    net = upstream_panns().Cnn14(32_000, 1024, 320, 64, 50, 14_000, 527)
    noise = torch.randn(4, 32_000) * torch.tensor([0.3, 0.1, 0.03, 0.01])[:, None]
    _calibrate(net, net.fc_audioset, lambda: net(noise))
    torch.save({"model": net.state_dict()}, folder / "Cnn14_mAP=0.431.pth")
    return net


def clip_vit_b32(folder: Path) -> Any:
    """Write open_clip_model.safetensors and return open_clip's own network with these weights."""
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(2)
    net = open_clip.create_model("ViT-B-32-quickgelu", load_weights=False).eval()
    save_file(net.state_dict(), folder / "open_clip_model.safetensors")
    return net


def depth_anything_v2_small(folder: Path) -> nn.Module:
    """Write model.safetensors as transformers does and return the network."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation

    torch.manual_seed(3)
    backbone = {
        "model_type": "dinov2",
        "hidden_size": 384,
        "image_size": 518,
        "num_attention_heads": 6,
        "out_features": ["stage3", "stage6", "stage9", "stage12"],
        "out_indices": [3, 6, 9, 12],
        "patch_size": 14,
        "reshape_hidden_states": False,
    }
    net = DepthAnythingForDepthEstimation(DepthAnythingConfig(backbone_config=backbone)).eval()
    for parameter in net.neck.parameters():
        if parameter.dim() > 1:
            nn.init.kaiming_uniform_(parameter)
    for parameter in net.head.parameters():
        nn.init.uniform_(parameter, 0, 0.05)  # positive: the last ReLU lets the map through
    net.save_pretrained(folder)
    return net


def encodec_24khz(folder: Path) -> Any:
    """Write encodec_24khz-d7cc33bc.th and return the package's own model with these weights."""
    from encodec import EncodecModel

    torch.manual_seed(4)
    net = EncodecModel.encodec_model_24khz(pretrained=False)
    with torch.no_grad():
        latents = net.encoder(torch.randn(2, 1, 81_920) * 0.1).transpose(1, 2).reshape(-1, 128)
        jitter = 0.1 * latents.std()
        for layer in net.quantizer.vq.layers:  # entries near what the encoder gives
            entries = latents[torch.randint(len(latents), (1024,))]
            layer._codebook.embed.copy_(entries + jitter * torch.randn(1024, 128))
            layer._codebook.inited.fill_(1)
            latents = latents - latents.mean(0)
    torch.save(net.state_dict(), folder / "encodec_24khz-d7cc33bc.th")
    return net


def resnet50(folder: Path) -> nn.Module:
    """Write resnet50-11ad3fa6.pth and return torchvision's network with these weights."""
    import torchvision

    torch.manual_seed(5)
    net = torchvision.models.resnet50()
    pictures = nn.functional.interpolate(2 * torch.randn(4, 3, 9, 9), 224, mode="bicubic")
    _calibrate(net, net.fc, lambda: net(pictures))
    torch.save(net.state_dict(), folder / "resnet50-11ad3fa6.pth")
    return net


def clap(folder: Path) -> nn.Module:
    """Write pytorch_model.bin, both towers, and return the ClapModel of transformers."""
    from transformers import ClapConfig, ClapModel

    torch.manual_seed(6)
    config = ClapConfig(
        text_config={"num_hidden_layers": 1, "vocab_size": 100},
        audio_config={"enable_fusion": False},
        projection_dim=512,
    )
    net = ClapModel(config).eval()
    torch.save(net.state_dict(), folder / "pytorch_model.bin")
    return net


def _fill_codebooks(books: list[Any], run: Callable[[], Any]) -> None:
    """Give codebooks of transformers, which start as zeros, entries near what each gets in a run:
    of latents, or of what the codebooks before leave of them."""

    def filled(book: Any) -> Callable[[torch.Tensor], torch.Tensor]:
        def quantize(states: torch.Tensor) -> torch.Tensor:
            # A half of the states, so that the other leaves something to the next codebook.
            half = states[torch.randperm(len(states))[: len(states) // 2]]
            entries = half[torch.randint(len(half), (book.codebook_size,))]
            entries = entries + 0.02 * states.std() * torch.randn_like(entries)
            # Mimi keeps a sum of vectors and their number, the others the mean.
            getattr(book, "embed_sum", book.embed).copy_(entries)
            book._embed = None
            return type(book).quantize(book, states)

        return quantize

    for book in books:
        book.quantize = filled(book)
    with torch.no_grad():
        run()
    for book in books:
        del book.quantize


def xcodec(folder: Path, small: bool = False) -> Any:
    """Write model.safetensors and config.json as transformers does, and return the network.

    ``small``: thinner layers between the same frames and codebooks.
    """
    from transformers import XcodecConfig, XcodecModel

    torch.manual_seed(8)
    acoustic: dict[str, Any] = {"model_type": "dac"}
    semantic: dict[str, Any] = {"model_type": "hubert"}
    if small:
        acoustic |= {"encoder_hidden_size": 4, "decoder_hidden_size": 64, "hidden_size": 16}
        semantic |= {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
        semantic |= {"intermediate_size": 64, "conv_dim": [16] * 7}
        semantic |= {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    config = XcodecConfig(acoustic_model_config=acoustic, semantic_model_config=semantic)
    net = XcodecModel(config).eval()
    for name, parameter in net.named_parameters():
        if (
            parameter.dim() == 3 and "acoustic_encoder" in name
        ):  # else sound dies away from layer to layer
            nn.init.kaiming_normal_(parameter)
    noise = _fading_noise(2, 54_720)
    books = [layer.codebook for layer in net.quantizer.quantizers[:2]]
    _fill_codebooks(books, lambda: net.encode(noise, bandwidth=1))
    net.save_pretrained(folder)
    return net


def wavtokenizer(folder: Path, small: bool = False, ratios: tuple[int, ...] = (8, 5, 4, 2)) -> Any:
    """Write model.safetensors and config.json as transformers does, and return the network."""
    from transformers import WavTokenizerConfig, WavTokenizerModel

    torch.manual_seed(9)
    thin: dict[str, Any] = {"num_filters": 4, "hidden_size": 32, "codebook_dim": 32}
    thin |= {"decoder_hidden_size": 64, "decoder_intermediate_size": 96, "decoder_num_layers": 2}
    config = WavTokenizerConfig(upsampling_ratios=ratios, **(thin if small else {}))
    net = WavTokenizerModel(config).eval()
    noise = _fading_noise(8, 81_920)
    _fill_codebooks([net.encoder_model.quantizer.codebook], lambda: net.encode(noise))
    net.save_pretrained(folder)
    return net


def mimi(folder: Path, small: bool = False) -> Any:
    """Write model.safetensors and config.json as transformers does, and return the network."""
    from transformers import MimiConfig, MimiModel

    torch.manual_seed(10)
    thin: dict[str, Any] = {"num_filters": 4, "hidden_size": 32, "num_attention_heads": 4}
    thin |= {"num_key_value_heads": 4, "num_hidden_layers": 1, "intermediate_size": 64}
    thin |= {"upsample_groups": 32, "vector_quantization_hidden_dimension": 16, "codebook_dim": 16}
    net = MimiModel(MimiConfig(**(thin if small else {}))).eval()
    noise = _fading_noise(8, 81_920)
    residual = net.quantizer.acoustic_residual_vector_quantizer.layers
    first = net.quantizer.semantic_residual_vector_quantizer.layers
    books = [layer.codebook for layer in (*first, *residual[:7])]
    _fill_codebooks(books, lambda: net.encode(noise, num_quantizers=8))
    net.save_pretrained(folder)
    return net


def _fading_noise(rows: int, samples: int) -> torch.Tensor:
    """[rows, 1, samples] of noise that fades, each row from another level."""
    levels = torch.logspace(-0.3, -2.5, rows)[:, None, None]
    return levels * torch.randn(rows, 1, samples) * torch.linspace(1, 0.05, samples)
