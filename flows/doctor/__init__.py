"""`slipway doctor`: gathers what registry, cluster, Helm, nodes and Prefect say, shows what does not fit together, and mends it."""

from flows.doctor.gather import gather
from flows.doctor.mend import mend

__all__ = ["gather", "mend"]
