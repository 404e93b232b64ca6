"""The API server: HTTP, routes, discovery, subresources, proxies."""
