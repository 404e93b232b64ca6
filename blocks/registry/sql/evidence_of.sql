-- Documents by their SHA-256.
SELECT sha256, kind, document FROM slipway_evidence WHERE sha256 = ANY(%(sha256s)s);
