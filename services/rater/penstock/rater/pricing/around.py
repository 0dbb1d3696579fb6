"""How a model asks the price that it holds: it is given the function, so that no model imports the registry."""

from __future__ import annotations

from collections.abc import Callable

from penstock.kernel.price import Price
from penstock.rater.pricing.priced import Priced
from penstock.rater.pricing.used import Used

AmountOf = Callable[[Price, Used], Priced]
