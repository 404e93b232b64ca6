"""Placement: does the candidate fit, on which nodes, and by which strategy does it take the place of what serves.

Nothing is touched here.
"""
