#!/bin/sh
# Prefect's Helm charts start every container by this path. Everything is in the image; so there is nothing to do but that.
exec "$@"
