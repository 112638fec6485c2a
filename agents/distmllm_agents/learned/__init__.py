"""Schedulers that are trained: Stable-Baselines3 on many markets at once.

Needs the extra ``rl``. Importing this package loads neither torch nor Stable-Baselines3; its
modules do.
"""
