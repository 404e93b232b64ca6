"""Approval: people decide on what is promoted, and what is kept of it is the record.

`rules` decide, `gate` asks, `tasks` write; Prefect's forms are `runtime`'s.
"""
