"""A call whose answer was lost is made again at once: nobody guesses whether it was carried out.

Every call of the registry finds what it wrote before, or writes it. So the second attempt looks up what became of a COMMIT whose answer was
lost, and after a failover it goes to the server that takes writes now.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from blocks.errors import RegistryUnreachable

P = ParamSpec("P")
T = TypeVar("T")

#: A fact of `RegistryUnreachable`: what became of the answer, where a connection was there.
ANSWER = "answer"
LOST = "lost"
REFUSED = "refused"


def repeated(call: Callable[P, T]) -> Callable[P, T]:
    """Make the call a second time if the connection broke under it, or the server takes no writes any longer.

    Raises:
        RegistryUnreachable: The second attempt found no server either. The message says so where the first may have been carried out.
    """

    @wraps(call)
    def again(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except RegistryUnreachable as error:
            answer = error.facts.get(ANSWER)
            if answer is None:
                raise
        try:
            return call(*args, **kwargs)
        except RegistryUnreachable as error:
            if answer != LOST:
                raise
            raise RegistryUnreachable(f"{error.message}; {_UNKNOWN}", **{**error.facts, ANSWER: LOST}) from error

    return again


_UNKNOWN = "the answer to a first attempt was lost, so what it was to write may be there: repeating it is safe"
