"""Keeps what happens to a gate, and looks after runs that wait for people."""
