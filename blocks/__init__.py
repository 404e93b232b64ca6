"""What Slipway touches: one system a file, each a Prefect block (configuration) and a plain client.

Blocks know neither each other nor candidates.
"""
