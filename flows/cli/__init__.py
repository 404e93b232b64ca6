"""The `slipway` command: a file a noun; and the demo. Everything that it does is a flow, a task or a read of the registry."""
