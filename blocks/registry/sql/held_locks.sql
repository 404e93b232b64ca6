-- Every lock that somebody holds.
SELECT
    model_name AS model, environment, organisation, holder AS run_id, fence,
    -- Judged by the clock that wrote it.
    extract(epoch FROM clock_timestamp() - heartbeat_at)::float8 AS silent_seconds
FROM slipway_locks
WHERE holder IS NOT NULL
ORDER BY model_name, environment, organisation;
