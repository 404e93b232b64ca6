-- Hear what notify_probe says; only ever sent on a connection that is called direct.
LISTEN slipway_probe;
