"""Image tokenizers trained on the run's own frames, and the quality of any image tokenizer."""
