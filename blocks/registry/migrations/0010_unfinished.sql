-- What runs began, newest first, without reading all that ever happened.
CREATE INDEX slipway_events_begun ON slipway_events (id) WHERE kind = 'deploying';
