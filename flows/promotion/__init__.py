"""Promotion: a candidate becomes what an environment serves: prefetch, deploy, rollout, verify, record.

What follows a failure is `recovery`'s.
"""
