"""The mini family: small CPU networks trained on the barnyard, committed with their weights."""
