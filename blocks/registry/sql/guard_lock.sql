-- The lock as it stands; nobody takes it before the end of this transaction.
SELECT
    model_name AS model, environment, organisation, holder AS run_id, fence,
    extract(epoch FROM clock_timestamp() - heartbeat_at)::float8 AS silent_seconds
FROM slipway_locks
WHERE model_name = %(model)s AND environment = %(environment)s AND organisation IS NOT DISTINCT FROM %(organisation)s
-- Not FOR UPDATE: whoever writes keeps takers away, and no other writer.
FOR SHARE;
