-- What runs began, newest first, without reading all that ever happened.
CREATE INDEX slipway_events_begun ON slipway_events (id) WHERE kind = 'deploying';

-- Whoever looks for what is wrong can see whether the schema is that of the program.
GRANT SELECT ON slipway_migrations TO slipway_operator, slipway_admin;
