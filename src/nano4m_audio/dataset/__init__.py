"""A finished results folder as a dataset: for PyTorch, and as files that others read."""
