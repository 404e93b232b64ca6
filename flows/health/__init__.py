"""Health of what is routed: what the monitor concludes of an answer, and what people switch off and on.

Whether an endpoint answers rightly is `verification`'s.
"""
