"""What a process keeps of what it has made: so many bytes; of more, what was not asked for longest goes."""

from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from study.data.types import Images, OutsideSet

Value = TypeVar("Value")
KEPT_BYTES = 10**9
"""Of one kind of things."""


class Recent(Generic[Value]):
    """Things of one kind by their keys.

    Args:
        limit: bytes that all of them may have together; what is asked for stays, however large it is.
    """

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self.limit = limit
        self._kept: dict[Hashable, tuple[Value, int]] = {}

    def get(self, key: Hashable, make: Callable[[], Value], size: Callable[[Value], int]) -> Value:
        """Return what is kept under a key; where nothing is, it is made and its bytes are asked for."""
        found = self._kept.pop(key, None)
        if found is None:
            made = make()
            found = made, size(made)
        self._kept[key] = found
        while len(self._kept) > 1 and self.bytes > self.limit:
            del self._kept[next(iter(self._kept))]
        return found[0]

    @property
    def bytes(self) -> int:
        """Bytes of all that is kept."""
        return sum(size for _, size in self._kept.values())

    def __len__(self) -> int:
        return len(self._kept)


def image_bytes(parts: "Iterable[Images | OutsideSet]") -> int:
    """Return the bytes of images and their labels."""
    return sum(part.images.nbytes + (0 if part.labels is None else part.labels.nbytes) for part in parts)
