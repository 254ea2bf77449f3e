"""Settings for all tests: property-based tests have no time limit per example, and memory that is
freed is kept, as in the commands."""

from extent import EXAMPLES
from hypothesis import HealthCheck, settings

from paraclip.allocator import keep_freed_memory

settings.register_profile(
    "paraclip",
    deadline=None,
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.too_slow],
)

keep_freed_memory()
