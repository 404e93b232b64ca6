"""A stand-in Kubernetes cluster: API server, controllers and node agents in one process."""
