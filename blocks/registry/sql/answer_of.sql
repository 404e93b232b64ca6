-- What was answered to the request of this key, if it was.
SELECT request_sha256, status, body
FROM slipway_api_answers
WHERE caller = %(caller)s AND key = %(key)s
