"""/metrics for Prometheus."""

from litestar import get
from litestar.exceptions import NotFoundException
from litestar.response.base import ASGIResponse

from rcommerce.commerce.shop import Services
from rcommerce.telemetry.prometheus import exposition


@get("/metrics", tags=["Operations"], summary="Metrics for Prometheus", sync_to_thread=False)
def get_metrics(services: Services) -> ASGIResponse:
    """In Prometheus' text format, for all workers of this instance."""
    if not services.settings.features.metrics:
        raise NotFoundException
    body, media_type = exposition(services.settings.port)
    return ASGIResponse(body=body, media_type=media_type, headers={"Cache-Control": "no-store"})
