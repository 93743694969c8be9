"""The published 4M image tokenizers (DiVAE: a vector-quantised ViT with a diffusion decoder)."""
