"""The page at the end: one self-contained HTML file made from the tables of all stages."""
