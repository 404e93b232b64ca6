-- One writer at a time for a model in an environment, until the end of the transaction; returns the time after the wait.
WITH held AS MATERIALIZED (
    SELECT pg_advisory_xact_lock(hashtextextended(
        jsonb_build_array('slipway', %(organisation)s::text, %(model)s::text, %(environment)s::text)::text, 0
    ))
)
SELECT coalesce(%(at)s::timestamptz, clock_timestamp()) AS at FROM held;
