"""The model hub: a Prefect block, its client, and what is read of a model's files there."""
