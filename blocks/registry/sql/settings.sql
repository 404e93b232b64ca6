-- Of every transaction, and of it alone: behind a pooler the session is used by strangers next. Naive timestamps of an existing table are read as
-- UTC, and no statement waits for a lock without end.
SELECT set_config('timezone', 'UTC', true), set_config('lock_timeout', '15s', true);
