-- That the token was used, to ten minutes: a write at each request would be one too many.
UPDATE slipway_tokens
SET last_used_at = now()
WHERE id = %(id)s AND coalesce(last_used_at < now() - interval '10 minutes', true)
