-- All tokens, the newest first, never their secrets.
SELECT id, label, acts_as, role, models, environments, created_at, created_by, expires_at, revoked_at, revoked_by, last_used_at
FROM slipway_tokens
ORDER BY created_at DESC, id
