-- What this statement met. A standby that has not applied any transaction since it started cannot say how far it is behind.
SELECT
    pg_backend_pid() AS process,
    current_setting('server_version') AS version,
    pg_is_in_recovery() AS standby,
    current_setting('transaction_read_only') = 'off' AS takes_writes,
    extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 AS behind_seconds,
    current_setting('synchronous_standby_names') <> '' AND current_setting('synchronous_commit') NOT IN ('off', 'local') AS synchronous;
