"""Asks endpoints and pods, and keeps and recalls evidence."""
