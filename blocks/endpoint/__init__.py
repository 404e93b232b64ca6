"""A model's endpoint: vLLM's HTTP."""

from blocks.endpoint.block import Endpoint, EndpointAccess
from blocks.endpoint.client import EndpointClient

__all__ = ["Endpoint", "EndpointAccess", "EndpointClient"]
