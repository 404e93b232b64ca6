-- That somebody signed out, until the session would have ended anyway.
INSERT INTO slipway_ended_sessions (session_sha256, forget_at)
VALUES (%(session_sha256)s, %(forget_at)s)
ON CONFLICT DO NOTHING
