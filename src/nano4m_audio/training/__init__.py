"""The training stage: token shards into packed arrays, the run and its record."""
