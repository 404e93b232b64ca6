"""Verification: what is asked of an endpoint, how it is judged, and the evidence that is kept of it.

Whether the candidate is promoted on it is `promotion`'s.
"""
