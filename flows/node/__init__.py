"""The program on the nodes: fetches a candidate's snapshot, checks it before an engine starts, scrubs what lies there.

It runs in a Job or an init container, where nothing of the pipeline is at hand: no Prefect, no cluster, no registry. What it must
know comes as arguments and one JSON file; what it found goes out as JSON lines. It starts in a tenth of a second, because the hub
client is loaded only when something must be fetched.
"""
