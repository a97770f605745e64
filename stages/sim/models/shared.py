"""Things that are costly to make and large to keep: made once while anyone uses them, and a few kept for the next."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import RLock
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Shared(Generic[K, V]):
    """Values by key. One that is in use anywhere is found again; of the others the `keep` used last stay."""

    def __init__(self, make: Callable[[K], V], keep: int) -> None:
        self._make, self._keep = make, keep
        self._alive: WeakValueDictionary[K, V] = WeakValueDictionary()
        self._recent: OrderedDict[K, V] = OrderedDict()
        self._lock = RLock()

    def get(self, key: K) -> V:
        """The value of a key, made if there is none."""
        with self._lock:
            value = self._alive.get(key)
            if value is None:
                self._trim(self._keep - 1)  # before, so that there is never one more than wanted
                value = self._alive[key] = self._make(key)
            self._recent[key] = value
            self._recent.move_to_end(key)
            self._trim(self._keep)
            return value

    def clear(self) -> None:
        """Keep nothing; what is in use goes on, but is not found again."""
        with self._lock:
            self._alive.clear()
            self._recent.clear()

    def _trim(self, size: int) -> None:
        while len(self._recent) > size:
            self._recent.popitem(last=False)
