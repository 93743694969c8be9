"""Tokens and weights in the forms of the published nano4M-Audio, in and out."""
