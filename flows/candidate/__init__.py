"""The candidate: which files, settings and digests are released, and whether they may be. What it needs on a GPU is `placement`'s."""
