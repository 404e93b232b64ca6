"""`slipway doctor`: gathers what registry, cluster, Helm, nodes and Prefect say, shows what does not fit together, and mends it.

`gather` only reads, `rules` only judge, `mend` alone writes. What becomes of a failed release is `recovery`'s. Looking imports nothing of
Prefect, mending does: neither is imported here.
"""
