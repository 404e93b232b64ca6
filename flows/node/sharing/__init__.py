"""Nodes that fetch one snapshot share it: each reads other pieces from the hub, and gives on what it has as it arrives.

`swarm` decides (pure, no clock and no network of its own); `content` holds bytes against claims; `server`, `peers` and `secret` are the way
between nodes; `spread` puts them together.
"""
