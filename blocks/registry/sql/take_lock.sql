-- Take the lock if it is free, stale, or of this very run, whose other processes are then fenced off.
-- The database's clock alone, as workers' clocks differ; and not now(), as the transaction may have waited.
INSERT INTO slipway_locks AS held (organisation, model_name, environment, holder, fence, acquired_at, heartbeat_at)
VALUES (%(organisation)s, %(model)s, %(environment)s, %(run_id)s, 1, clock_timestamp(), clock_timestamp())
-- The constraint takes NULL for a value (NULLS NOT DISTINCT): there is one row without an organisation, too.
ON CONFLICT (organisation, model_name, environment) DO UPDATE
SET holder = excluded.holder, fence = held.fence + 1, acquired_at = clock_timestamp(), heartbeat_at = clock_timestamp()
WHERE held.holder IS NULL
    OR held.holder = excluded.holder
    OR held.heartbeat_at < clock_timestamp() - make_interval(secs => %(stale_seconds)s);
