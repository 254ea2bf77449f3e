"""Finding an id that is there twice without keeping the ids."""

from array import array

SMALLEST = 1024
MASK = 2**64 - 1


class SeenIds:
    """A set of ids by their 64-bit hashes, in one flat table of eight bytes a slot.

    It costs 12 to 24 bytes an id (36 for a moment while it grows), where a Python set of the
    texts costs above 100: 1 million ids take 17 MB. Two different ids among a million are taken
    for the same with a chance of 3 in 100 million.
    """

    def __init__(self) -> None:
        self.slots = array("Q", [0]) * SMALLEST
        self.count = 0

    def add(self, name: str) -> bool:
        """Note an id; False if it was there already."""
        # 0 marks a free slot.
        if not self.put(hash(name) & MASK or 1):
            return False
        self.count += 1
        if 3 * self.count > 2 * len(self.slots):
            self.grow()
        return True

    def put(self, value: int) -> bool:
        """Place a hash in its slot or the next free one; False if it is there already."""
        slots, last = self.slots, len(self.slots) - 1
        place = value & last
        while (found := slots[place]) != 0:
            if found == value:
                return False
            place = (place + 1) & last
        slots[place] = value
        return True

    def grow(self) -> None:
        """Twice the slots."""
        before = self.slots
        self.slots = array("Q", [0]) * (2 * len(before))
        for value in before:
            if value:
                self.put(value)
