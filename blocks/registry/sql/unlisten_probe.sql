-- Hear it no longer: a pooler that was called direct keeps the session for others.
UNLISTEN slipway_probe;
