-- Whether the user is the owner of the events, or a member of it.
SELECT pg_has_role(relowner, 'USAGE') AS may FROM pg_class WHERE oid = 'slipway_events'::regclass;
