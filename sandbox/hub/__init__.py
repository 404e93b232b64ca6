"""A stand-in for the public model hub: enough of its protocol for `huggingface_hub` 2.4 to name, list, check and download models.

It has three origins, as the real one has: the hub itself, a CDN on another port to which large files redirect, and the store of
repositories that are xet-backed. Not emulated: uploads, datasets and spaces, search,
discussions, commit history pages, and licence pages of gated repositories.
"""

from sandbox.hub.faults import Fault, Faults
from sandbox.hub.hub import Hub
from sandbox.hub.log import LoggedRequest, RequestLog

__all__ = ["Fault", "Faults", "Hub", "LoggedRequest", "RequestLog"]
