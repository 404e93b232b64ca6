-- Applied migrations and the checksums of their text at that time.
SELECT name, sha256 FROM slipway_migrations ORDER BY name;
