"""A model's endpoint: vLLM's HTTP."""

from blocks.endpoint.block import Door, Endpoint
from blocks.endpoint.client import EndpointClient

__all__ = ["Door", "Endpoint", "EndpointClient"]
