"""The training engine: a 4M-style encoder-decoder over token sequences, free of pipeline code."""
