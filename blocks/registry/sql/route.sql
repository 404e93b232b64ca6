-- What a router asks: where the model is served, or why it is not. It may come through a pooler.
SELECT endpoint, candidate AS fingerprint, status, last_checked_at, http_status, message
FROM route_through_pooler(%(model)s, %(hub_revision)s, %(environment)s, %(organisation)s);
