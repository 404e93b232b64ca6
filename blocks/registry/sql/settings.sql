-- Naive timestamps of an existing table are read as UTC, and no statement waits for a lock without end. Of the session where it is ours, and of
-- the transaction alone behind a pooler, where strangers use the session next.
SELECT set_config('timezone', 'UTC', %(local)s), set_config('lock_timeout', '15s', %(local)s);
