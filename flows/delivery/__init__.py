"""Delivery: a candidate gets to a cluster, by Helm or by Git and Argo CD, and what is there is compared with what was sent.

Whether its pods come up is `rollout`'s.
"""
