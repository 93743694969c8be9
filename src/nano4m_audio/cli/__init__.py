"""One command per stage, the only entry that the rules call."""
