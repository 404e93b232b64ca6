"""Two candidates side by side: a share of the traffic first, judged while it runs.

Whether a candidate answers rightly before it gets any traffic is `verification`'s.
"""
