"""Probes of a trained run."""
