"""Prometheus metrics of one server."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """Requests, their duration, refusals and the size of the index, in a separate registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "paraclip_requests", "Requests.", ("route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "paraclip_request_seconds", "Duration of requests.", ("route",),
            registry=self.registry, buckets=BUCKETS,
        )  # fmt: skip
        self.refused = Counter(
            "paraclip_refused", "Requests refused, by reason.", ("reason",), registry=self.registry
        )
        self.pictures = Gauge("paraclip_pictures", "Pictures searched.", registry=self.registry)
        self.store_up = Gauge(
            "paraclip_store_up", "Whether the store could be reached last.", registry=self.registry
        )

    def observe(self, route: str, status: int, seconds: float) -> None:
        """Count a finished request."""
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def exposition(self, pictures: int, store_up: bool) -> bytes:
        """All metrics as text."""
        self.pictures.set(pictures)
        self.store_up.set(store_up)
        return generate_latest(self.registry)
