-- The token of this hash, if it holds now.
SELECT id, label, acts_as, role, models, environments, created_at, created_by, expires_at, revoked_at, revoked_by, last_used_at
FROM slipway_tokens
WHERE secret_sha256 = %(secret_sha256)s AND revoked_at IS NULL AND expires_at > now()
