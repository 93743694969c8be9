"""A dataset for others without its media: who, when, which numbers and hashes; and what of it is
still to be had."""
