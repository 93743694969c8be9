"""Looking after a results folder: clips as a list, checks before a run, disk, clean-up."""
