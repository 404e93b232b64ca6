-- What this statement met, and the registry's schema where PUBLIC may create in it (as in one that was made before PostgreSQL 15). A standby that has not applied any transaction since it started cannot say how far it is behind.
SELECT
    pg_backend_pid() AS process,
    current_setting('server_version') AS version,
    pg_is_in_recovery() AS standby,
    current_setting('transaction_read_only') = 'off' AS takes_writes,
    extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 AS behind_seconds,
    current_setting('synchronous_standby_names') <> '' AND current_setting('synchronous_commit') NOT IN ('off', 'local') AS synchronous,
    (
        SELECT format('%I', n.nspname)
        FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        CROSS JOIN aclexplode(n.nspacl) AS may
        WHERE c.oid = to_regclass('slipway_migrations') AND may.grantee = 0 AND may.privilege_type = 'CREATE'
        LIMIT 1
    ) AS open_schema;
