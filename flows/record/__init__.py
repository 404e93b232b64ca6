"""The record: kinds of events, what they tell together, the lock of a model in an environment, the seconds of each phase.

What follows from it is decided by the rooms that ask; SQL is `blocks.registry`'s.
"""
