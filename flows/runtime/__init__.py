"""How Slipway runs in Prefect: calling tasks, states, blocks, forms, artifacts, logs, the client. Knows no model."""
