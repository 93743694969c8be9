"""A page beside the report on which every clip can be seen and heard."""
