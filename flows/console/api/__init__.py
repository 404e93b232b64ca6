"""The API, version 1: what there is to see and to do, as JSON. Nothing is worked out here: `reads` and `actions` do that."""
