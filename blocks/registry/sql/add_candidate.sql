-- Keep a candidate; one that is there already stays as it is.
INSERT INTO slipway_candidates (fingerprint, document, model_name, hub_revision)
VALUES (%(fingerprint)s, %(document)s, %(model)s, %(hub_revision)s)
ON CONFLICT (fingerprint) DO NOTHING;
