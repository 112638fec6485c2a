"""Scheduling policies for the edge market: the paper's, its baselines, and an exact oracle."""
