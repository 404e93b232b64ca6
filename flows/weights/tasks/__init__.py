"""Starts and follows Jobs on nodes."""
