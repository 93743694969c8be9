"""Every backend has what its Protocol asks for. Only mypy reads this, and refuses any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nano4m_audio.backends import protocols
    from nano4m_audio.backends.clap import ClapAudio
    from nano4m_audio.backends.clip import ClipVitB32
    from nano4m_audio.backends.cosmos import CosmosTokenizer
    from nano4m_audio.backends.depth_anything import DepthAnythingV2Small
    from nano4m_audio.backends.divae import tokenizer as divae
    from nano4m_audio.backends.dsine.estimator import DsineNormals
    from nano4m_audio.backends.encodec import Encodec24kHz
    from nano4m_audio.backends.gpt2 import Gpt2Tokenizer
    from nano4m_audio.backends.mini import image_tokenizer as mini
    from nano4m_audio.backends.mini.codec import MiniCodec
    from nano4m_audio.backends.mini.dense import MiniDepth, MiniNormals
    from nano4m_audio.backends.mini.scorer import MiniImageTextScorer
    from nano4m_audio.backends.mini.tagger import MiniTagger
    from nano4m_audio.backends.panns import PannsCnn14
    from nano4m_audio.backends.resnet import ResNet50
    from nano4m_audio.backends.silero import SileroVad
    from nano4m_audio.backends.yamnet import Yamnet

    def audio_taggers(*b: MiniTagger | PannsCnn14 | Yamnet) -> tuple[protocols.AudioTagger, ...]:
        return b

    def scorers(*b: MiniImageTextScorer | ClipVitB32) -> tuple[protocols.ImageTextScorer, ...]:
        return b

    def speech_detectors(*b: SileroVad) -> tuple[protocols.SpeechDetector, ...]:
        return b

    def depth_estimators(
        *b: MiniDepth | DepthAnythingV2Small,
    ) -> tuple[protocols.DepthEstimator, ...]:
        return b

    def normal_estimators(*b: MiniNormals | DsineNormals) -> tuple[protocols.NormalEstimator, ...]:
        return b

    def image_tokenizers(
        *b: mini.MiniRgbTokenizer
        | mini.MiniDepthTokenizer
        | mini.MiniNormalTokenizer
        | mini.TrainedImageTokenizer
        | divae.FourmRgbTokenizer
        | divae.FourmDepthTokenizer
        | divae.FourmNormalTokenizer
        | CosmosTokenizer,
    ) -> tuple[protocols.ImageTokenizer, ...]:
        return b

    def audio_tokenizers(*b: MiniCodec | Encodec24kHz) -> tuple[protocols.AudioTokenizer, ...]:
        return b

    def text_tokenizers(*b: Gpt2Tokenizer) -> tuple[protocols.TextTokenizer, ...]:
        return b

    def image_classifiers(*b: ResNet50) -> tuple[protocols.ImageClassifier, ...]:
        return b

    def audio_embedders(*b: ClapAudio) -> tuple[protocols.AudioEmbedder, ...]:
        return b
