-- A verdict document by its SHA-256.
SELECT document FROM slipway_evidence WHERE sha256 = %(sha256)s;
