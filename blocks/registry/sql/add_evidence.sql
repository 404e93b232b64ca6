-- Keep a verdict document; one that is there already stays as it is.
INSERT INTO slipway_evidence (sha256, kind, document)
VALUES (%(sha256)s, %(kind)s, %(document)s)
ON CONFLICT (sha256) DO NOTHING;
