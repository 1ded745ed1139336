"""Core: networks, probes, losses, runs; imports nothing of the rest."""
