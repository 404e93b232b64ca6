-- Append-only again.
ALTER TABLE slipway_events ENABLE TRIGGER slipway_events_append_only;
