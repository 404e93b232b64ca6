"""Side effects: one Prefect task a file. A task observes, returns if it is already so, then acts; it decides nothing about policy."""
