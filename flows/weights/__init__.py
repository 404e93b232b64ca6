"""Weights: Jobs that bring a model's files to the nodes, and that prove every night that they are still right.

The program that they run is `node`'s.
"""
