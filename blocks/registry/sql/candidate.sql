-- A candidate by its fingerprint.
SELECT document, model_name AS model, hub_revision FROM slipway_candidates WHERE fingerprint = %(fingerprint)s;
