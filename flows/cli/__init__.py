"""The `slipway` command: a file a noun; and the demo.

Nothing is decided here: what a command does is a flow, a task or a read of the registry.
"""
