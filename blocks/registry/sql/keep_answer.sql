-- What the request of this key was answered.
UPDATE slipway_api_answers
SET status = %(status)s, body = %(body)s
WHERE caller = %(caller)s AND key = %(key)s AND status IS NULL
