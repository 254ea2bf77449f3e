"""A bounded cache of results."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Result = TypeVar("Result")
Key = TypeVar("Key", bound=Hashable)


class Recent(Generic[Key, Result]):
    """The most recently used values, at most `most`."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.values: OrderedDict[Key, Result] = OrderedDict()

    def get(self, key: Key) -> Result | None:
        """The value of a key; counts as use."""
        if key not in self.values:
            return None
        self.values.move_to_end(key)
        return self.values[key]

    def put(self, key: Key, value: Result) -> None:
        """Store a value, and drop the least recently used one if necessary."""
        self.values[key] = value
        self.values.move_to_end(key)
        if len(self.values) > self.most:
            self.values.popitem(last=False)
