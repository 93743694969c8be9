# mypy: strict-optional
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
    from nano4m_audio.backends.mimi import Mimi
    from nano4m_audio.backends.mini import image_tokenizer as mini
    from nano4m_audio.backends.mini.codec import MiniCodec
    from nano4m_audio.backends.mini.dense import MiniDepth, MiniNormals
    from nano4m_audio.backends.mini.scorer import MiniImageTextScorer
    from nano4m_audio.backends.mini.tagger import MiniEmbedder, MiniSoundFeatures, MiniTagger
    from nano4m_audio.backends.panns import PannsCnn14, PannsEmbedder, PannsSoundFeatures
    from nano4m_audio.backends.resnet import ResNet50
    from nano4m_audio.backends.semantic import LogMelFeatures
    from nano4m_audio.backends.silero import SileroVad
    from nano4m_audio.backends.wavtokenizer import WavTokenizer, WavTokenizer40Hz
    from nano4m_audio.backends.xcodec import Xcodec1, Xcodec2
    from nano4m_audio.backends.yamnet import Yamnet

    audio_taggers: list[type[protocols.AudioTagger]] = [MiniTagger, PannsCnn14, Yamnet]
    scorers: list[type[protocols.ImageTextScorer]] = [MiniImageTextScorer, ClipVitB32]
    speech_detectors: list[type[protocols.SpeechDetector]] = [SileroVad]
    depth_estimators: list[type[protocols.DepthEstimator]] = [MiniDepth, DepthAnythingV2Small]
    normal_estimators: list[type[protocols.NormalEstimator]] = [MiniNormals, DsineNormals]
    image_tokenizers: list[type[protocols.ImageTokenizer]] = [
        mini.MiniRgbTokenizer,
        mini.MiniDepthTokenizer,
        mini.MiniNormalTokenizer,
        mini.TrainedImageTokenizer,
        divae.FourmRgbTokenizer,
        divae.FourmDepthTokenizer,
        divae.FourmNormalTokenizer,
        CosmosTokenizer,
    ]
    audio_tokenizers: list[type[protocols.AudioTokenizer]] = [
        MiniCodec,
        Encodec24kHz,
        Xcodec1,
        Xcodec2,
        WavTokenizer,
        WavTokenizer40Hz,
        Mimi,
    ]
    text_tokenizers: list[type[protocols.TextTokenizer]] = [Gpt2Tokenizer]
    image_classifiers: list[type[protocols.ImageClassifier]] = [ResNet50]
    audio_embedders: list[type[protocols.AudioEmbedder]] = [ClapAudio, MiniEmbedder, PannsEmbedder]
    sound_features: list[type[protocols.SoundFeatures]] = [
        MiniSoundFeatures,
        PannsSoundFeatures,
        LogMelFeatures,
    ]
