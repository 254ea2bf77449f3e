"""Settings for all tests: property-based tests have no time limit per example."""

from hypothesis import HealthCheck, settings

settings.register_profile("paraclip", deadline=None, suppress_health_check=[HealthCheck.too_slow])
