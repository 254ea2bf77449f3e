"""What every test shares: an example of a property is not judged by the time it takes."""

from hypothesis import HealthCheck, settings

settings.register_profile("paraclip", deadline=None, suppress_health_check=[HealthCheck.too_slow])
