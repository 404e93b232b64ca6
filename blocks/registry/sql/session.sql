-- Every session: naive timestamps of an existing table are read as UTC, and no statement waits for a lock without end.
SELECT set_config('timezone', 'UTC', false), set_config('lock_timeout', '15s', false);
