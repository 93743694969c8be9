"""The mini family: small networks trained on the barnyard, committed with their weights, CPU
only."""
