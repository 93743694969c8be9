"""One loss per member: a random batch of the data, changed at random, against the truth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cosine_similarity, normalize

from nano4m_audio.backends.mini import codec, dense
from nano4m_audio.backends.mini.image_tokenizer import ImageTokenizerNet
from nano4m_audio.backends.mini.runtime import as_image
from nano4m_audio.backends.mini.scorer import ScorerNet, word_buckets
from nano4m_audio.backends.mini.tagger import TaggerNet
from nano4m_audio.minitrain.augment import relevel, relight, soften, zoom, zoom_box
from nano4m_audio.minitrain.data import SoundSet, ViewSet
from nano4m_audio.minitrain.prompts import sample_texts
from nano4m_audio.minitrain.resample import to_rate

_CROP = 160
#: Logarithm of the ratio of estimated to true depth beyond which the relative error counts no more.
_TOO_FAR_MAX = 2.0
_CODEC_PIECE = 96 * codec.HOP


@dataclass(frozen=True)
class TaggerLoss:
    """Binary cross-entropy per class; some windows carry a second sound, animal or not."""

    sounds: SoundSet
    n_classes: int
    batch: int

    def __call__(self, net: TaggerNet, generator: torch.Generator) -> torch.Tensor:
        waveforms, target = self._draw(generator)
        guests, guest_target = self._draw(generator)
        level_db = -20 + 20 * torch.rand(self.batch, 1, generator=generator)
        mixed = (torch.rand(self.batch, 1, generator=generator) < 0.25).float()
        waveforms = waveforms + mixed * guests * 10 ** (level_db / 20)
        # A guest fainter than -10 dB need not be heard, so it is scored neither way.
        audible, faint = mixed * (level_db > -6).float(), mixed * (level_db <= -6).float()
        target = torch.maximum(target, audible * guest_target)
        weight = 1 - faint * guest_target * (1 - target)
        with torch.autocast("cpu", enabled=False):
            features = net.features(relevel(waveforms, generator))
        logits = net.classify(features).float()
        return binary_cross_entropy_with_logits(logits, target, weight)

    def _draw(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        index = torch.randint(len(self.sounds.label), (self.batch,), generator=generator)
        label = self.sounds.label[index]
        target = (label.unsqueeze(1) == torch.arange(self.n_classes)).float()
        return self.sounds.waveforms[index].float() / 32767, target


@dataclass(frozen=True)
class ScorerLoss:
    """Sigmoid loss on cosines: matches are pushed above 0.6, everything else below 0.2."""

    views: ViewSet
    classes: tuple[str, ...]
    batch: int

    def __call__(self, net: ScorerNet, generator: torch.Generator) -> torch.Tensor:
        index = torch.randint(len(self.views.label), (self.batch,), generator=generator)
        images = zoom(as_image(self.views.rgb[index]), zoom_box(generator, 224, 0.75))
        if torch.rand((), generator=generator) < 0.5:
            images = images.flip(3)
        images = relight(soften(images, generator), generator)
        texts = sample_texts(self.classes, generator)
        rows = [net.embed_text(torch.tensor(word_buckets(t), dtype=torch.int64)) for t in texts]
        cosines = net.embed_images(images) @ torch.stack(rows).T
        label = self.views.label[index]
        concept = torch.where(label < 0, len(self.classes), label)
        match = (concept.unsqueeze(1) == torch.arange(len(texts))).float()
        return binary_cross_entropy_with_logits(20 * (cosines.float() - 0.4), match)


@dataclass(frozen=True)
class DenseLoss:
    """Relative depth error plus the angle between normals; the sky counts, but less.

    Half of the depth error is the relative error itself, which is unbounded only for estimates that
    are too far: without it, blurred outlines of an animal land halfway to the horizon.
    """

    views: ViewSet
    batch: int

    def __call__(self, net: dense.DenseNet, generator: torch.Generator) -> torch.Tensor:
        index = torch.randint(len(self.views.label), (self.batch,), generator=generator)
        images = as_image(self.views.rgb[index])
        inverse = self.views.inverse_depth[index].float()
        normals = self.views.normals[index].permute(0, 3, 1, 2).float() / 127
        if torch.rand((), generator=generator) < 0.5:
            images, inverse = images.flip(3), inverse.flip(2)
            normals = normals.flip(3) * torch.tensor([-1.0, 1, 1]).view(1, 3, 1, 1)
        output = net(relight(soften(images, generator), generator))
        weight = torch.where(inverse > 0, 1.0, 0.2)
        too_far = torch.log(inverse + dense.FLOOR) - output[:, 0]
        relative = torch.expm1(too_far.clamp(max=_TOO_FAR_MAX))
        depth_error = (too_far.abs() + relative.abs()) / 2
        facing = 1 - cosine_similarity(output[:, 1:], normals, dim=1)
        straight = (output[:, 1:] - normals).abs().mean(1)
        return (weight * (3 * depth_error + facing + straight)).mean()


@dataclass(frozen=True)
class ViewImages:
    """One modality of a view set, "rgb", "depth" or "normal": an index int64 [B] gives float32 [B,
    C, 224, 224] in -1..1."""

    views: ViewSet
    modality: str

    def __len__(self) -> int:
        return len(self.views.label)

    def __getitem__(self, index: torch.Tensor) -> torch.Tensor:
        return modality_images(self.views, self.modality, index)


@dataclass(frozen=True)
class StoredImages:
    """The same of a float16 tensor [N, C, 224, 224] in -1..1."""

    images: torch.Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: torch.Tensor) -> torch.Tensor:
        return self.images[index].float()


@dataclass(frozen=True)
class ImageTokenizerLoss:
    """Squared plus absolute error on random crops."""

    images: ViewImages | StoredImages
    batch: int

    def __call__(self, net: ImageTokenizerNet, generator: torch.Generator) -> torch.Tensor:
        index = torch.randint(len(self.images), (self.batch,), generator=generator)
        images = self.images[index]
        top, left = torch.randint(0, 224 - _CROP + 1, (2,), generator=generator).tolist()
        images = images[:, :, top : top + _CROP, left : left + _CROP]
        if torch.rand((), generator=generator) < 0.3:
            images = zoom(images, zoom_box(generator, _CROP, 0.75))
        images = soften(images, generator)
        error = net(images) - images
        return 4 * (error**2).mean() + 0.5 * error.abs().mean()


def modality_images(views: ViewSet, modality: str, index: torch.Tensor) -> torch.Tensor:
    """Rows of a view set as the tokenizers see them: float32 [B, C, 224, 224] in -1..1."""
    if modality == "rgb":
        return as_image(views.rgb[index])
    if modality == "normal":
        return normalize(views.normals[index].permute(0, 3, 1, 2).float(), dim=1)
    return stretch(views.inverse_depth[index].float()).unsqueeze(1)


def stretch(maps: torch.Tensor) -> torch.Tensor:
    """Each map of [B, H, W] linearly to -1..1 by its own least and greatest value."""
    least, greatest = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return 2 * (maps - least) / (greatest - least).clamp(min=1e-6) - 1


@dataclass(frozen=True)
class CodecLoss:
    """Errors of log, square-root and log-mel magnitudes on random pieces of the windows.

    The logarithm alone lets faint bins decide; the square root weighs loud partials, and the mel
    bands what a listener (and the tagger) takes for the timbre.
    """

    waveforms: torch.Tensor
    batch: int

    def __call__(self, net: codec.CodecNet, generator: torch.Generator) -> torch.Tensor:
        index = torch.randint(len(self.waveforms), (self.batch,), generator=generator)
        spare = self.waveforms.shape[1] - _CODEC_PIECE
        start = torch.randint(0, spare, (self.batch,), generator=generator)
        pieces = [
            self.waveforms[i, s : s + _CODEC_PIECE] for i, s in zip(index, start, strict=True)
        ]
        with torch.autocast("cpu", enabled=False):
            waveforms = relevel(torch.stack(pieces).float() / 32767, generator)
            magnitudes = net.log_mel.spectrum(waveforms).abs()
            log_mel = net.log_mel.of_magnitudes(magnitudes)
        output = net(log_mel)
        with torch.autocast("cpu", enabled=False):
            target = torch.log(magnitudes + codec.MAGNITUDE_FLOOR)
            log_error = (output - target).abs().mean()
            root_error = (torch.exp(output / 2) - torch.exp(target / 2)).square().mean()
            bands = net.log_mel.of_magnitudes(torch.exp(output))
            band_error = (bands - net.log_mel.of_magnitudes(torch.exp(target))).abs().mean()
        return log_error + root_error + band_error


def codec_windows(sounds: SoundSet) -> torch.Tensor:
    """All windows at the codec's rate: int16 [N, 81920]."""
    pieces = [
        to_rate(part.float(), codec.WINDOW_SAMPLES).round().clamp(-32768, 32767).to(torch.int16)
        for part in sounds.waveforms.split(64)
    ]
    return torch.cat(pieces)
