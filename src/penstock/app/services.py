"""Which ports siblings call over the network. Every method of them is a read, so it may be tried again."""

from __future__ import annotations

from penstock.kernel.ports.siblings import (
    Backtesting,
    Customers,
    EventReader,
    GatewayMemory,
    OpenLayers,
    Rating,
    UsageReader,
)
from penstock.rpc.port import Service

# A port is abstract and what stands in for it is not, which mypy cannot know.
USAGE = Service(UsageReader, reads=["metric", "usage", "settled"])  # type: ignore[type-abstract]
EVENTS = Service(EventReader, reads=["events"])  # type: ignore[type-abstract]
RATING = Service(Rating, reads=["charges", "rate_card_id", "units_of", "metrics_of", "product_names"])  # type: ignore[type-abstract]
BACKTESTING = Service(Backtesting, reads=["preview", "backtest"])  # type: ignore[type-abstract]
CUSTOMERS = Service(Customers, reads=["keys_of", "customer_of", "name_of"])  # type: ignore[type-abstract]
LAYERS = Service(OpenLayers, reads=["open_layer"])  # type: ignore[type-abstract]
MEMORY = Service(GatewayMemory, reads=["not_accepted"])  # type: ignore[type-abstract]
