-- A notice of no meaning, to find out whether it is heard.
SELECT pg_notify('slipway_probe', %(token)s);
