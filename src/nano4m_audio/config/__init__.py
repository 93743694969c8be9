"""The schema of config.yaml, and how it is read."""
