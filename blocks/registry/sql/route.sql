-- What a router asks: where the model is served, or why it is not.
SELECT
    endpoint, candidate AS fingerprint, status, last_checked_at, http_status, message,
    weight, canary_endpoint, canary_candidate AS canary_fingerprint, canary_weight, shadow
FROM route(%(model)s, %(hub_revision)s, %(environment)s, %(organisation)s);
