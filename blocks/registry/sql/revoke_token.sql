-- Takes a token out of use, for ever; one that is revoked stays as it was.
UPDATE slipway_tokens
SET revoked_at = now(), revoked_by = %(actor)s
WHERE id = %(id)s AND revoked_at IS NULL
