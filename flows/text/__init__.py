"""How people read lists and sizes, and how text that others wrote is shown to them as text: nothing that it holds is taken for ours.

Pure: nothing is shown here, only made fit to be. What no medium may show (secrets, signs that hide) is `blocks.wording`'s.
"""

from flows.text.quantities import GIB, counted, gib, listed

__all__ = ["GIB", "counted", "gib", "listed"]
