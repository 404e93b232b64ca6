-- The same where statements have no names: with a plan that the server's session keeps (migration 0014).
SELECT
    endpoint, candidate AS fingerprint, status, last_checked_at, http_status, message,
    weight, canary_endpoint, canary_candidate AS canary_fingerprint, canary_weight, shadow
FROM route_through_pooler(%(model)s, %(hub_revision)s, %(environment)s, %(organisation)s);
