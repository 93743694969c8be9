"""Pseudo-labels of the keyframes: depth and surface normals."""
