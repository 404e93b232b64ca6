"""Recovery: what becomes of an environment and of a run after a failure. One decision (`decide`), whoever asks.

Nothing of it runs in a release that goes well.
"""
