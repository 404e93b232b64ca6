"""Rollout: does the cluster get on with the candidate, and if not, why. Changes nothing."""
