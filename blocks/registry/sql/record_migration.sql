-- Remember an applied migration, in the transaction that applied it.
INSERT INTO slipway_migrations (name, sha256) VALUES (%(name)s, %(sha256)s);
