"""Stand-ins for what a laptop lacks: a cluster, GPUs, the public hub. Imported by the tests and the demo only."""
