"""Segments of videos from the web: asked for politely, read exactly, and written down."""
