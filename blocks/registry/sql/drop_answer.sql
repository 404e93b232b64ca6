-- The request of this key did nothing: it may be sent again at once.
UPDATE slipway_api_answers
SET begun_at = '-infinity'
WHERE caller = %(caller)s AND key = %(key)s AND status IS NULL
