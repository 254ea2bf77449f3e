"""Settings for all tests: property-based tests have no time limit per example, and memory that is
freed is kept, as in the commands."""

from hypothesis import HealthCheck, settings

from extent import EXAMPLES
from paraclip.allocator import keep_freed_memory

settings.register_profile(
    "paraclip",
    deadline=None,
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.too_slow],
)

keep_freed_memory()
