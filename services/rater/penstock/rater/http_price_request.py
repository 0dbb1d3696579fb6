"""POST /v1/price: any price on what the caller brings along; nothing is looked up and nothing is kept."""

from __future__ import annotations

from typing import Any

from penstock.rater.price_answer import price_anything, view
from penstock.web.route import Request


def price(request: Request) -> dict[str, Any]:
    return view(price_anything(request.body))
