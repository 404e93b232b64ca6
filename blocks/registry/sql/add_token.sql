-- A new token; none is replaced.
INSERT INTO slipway_tokens (id, secret_sha256, label, acts_as, role, models, environments, created_by, expires_at)
VALUES (%(id)s, %(secret_sha256)s, %(label)s, %(acts_as)s, %(role)s, %(models)s, %(environments)s, %(created_by)s, %(expires_at)s)
ON CONFLICT (id) DO NOTHING
