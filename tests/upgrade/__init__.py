"""A run that waits for people outlives an upgrade of Prefect: `make test-upgrade`, with an environment of its own beside the suite."""
