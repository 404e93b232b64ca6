"""What every part speaks in: errors, resources and their types, values and patches, certificates, the client. Knows no server."""
