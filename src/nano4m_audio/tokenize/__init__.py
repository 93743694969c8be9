"""Tokens: one function over a shard, and per modality how a clip becomes the tokenizer's input."""
