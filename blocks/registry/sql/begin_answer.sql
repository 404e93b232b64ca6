-- A request of this key begins; one that began long ago and was never answered lost its process, and begins anew.
INSERT INTO slipway_api_answers AS a (caller, key, request_sha256, begun_at)
VALUES (%(caller)s, %(key)s, %(request_sha256)s, now())
ON CONFLICT (caller, key) DO UPDATE
SET begun_at = now()
WHERE a.status IS NULL AND a.request_sha256 = excluded.request_sha256 AND a.begun_at < now() - %(lost_after)s
