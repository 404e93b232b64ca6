-- Whether somebody signed out of it.
SELECT EXISTS (SELECT FROM slipway_ended_sessions WHERE session_sha256 = %(session_sha256)s) AS ended
