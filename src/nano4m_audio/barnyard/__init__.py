"""The barnyard: a deterministic synthetic world of eleven animals, with exact truth."""
