"""The products API in Metronome's shapes: create, get, list, update, archive."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec

from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.siblings import UsageReader
from penstock.kernel.problems import BadRequest, NotFound, Unprocessable
from penstock.rater.definitions import Product, ProductType, ProductUpdate
from penstock.rater.http_quantity_terms import (
    ConversionBody,
    RoundingBody,
    conversion_of,
    conversion_view,
    rounding_of,
    rounding_view,
)
from penstock.rater.shelf import Shelf
from penstock.web.instant import as_utc
from penstock.web.page import decode_cursor, page
from penstock.web.route import Request

PAGE_MAX = 100
# Types that Metronome knows and that would be billed wrongly if they were taken for another.
OTHER_TYPES = frozenset({"COMPOSITE", "SUBSCRIPTION", "PRO_SERVICE", "PROFESSIONAL_SERVICE"})
ARCHIVE_FILTERS = {"ARCHIVED": {True}, "NOT_ARCHIVED": {False}, "ALL": {True, False}}

Name = Annotated[str, msgspec.Meta(min_length=1)]
B = TypeVar("B")
N = TypeVar("N")


class CreateProduct(msgspec.Struct, kw_only=True):
    name: Name
    type: str
    billable_metric_id: str | None = None
    pricing_group_key: list[str] | None = None
    presentation_group_key: list[str] | None = None
    tags: list[str] | None = None
    custom_fields: dict[str, str] | None = None
    quantity_conversion: ConversionBody | None = None
    quantity_rounding: RoundingBody | None = None


class UpdateProduct(msgspec.Struct, kw_only=True):
    """What is absent stays as it was. `Any` is for what cannot be updated: refused by name wherever it is set."""

    product_id: str
    starting_at: Annotated[datetime, msgspec.Meta(tz=True)]
    name: Name | msgspec.UnsetType = msgspec.UNSET
    tags: list[str] | msgspec.UnsetType = msgspec.UNSET
    quantity_conversion: ConversionBody | msgspec.UnsetType | None = msgspec.UNSET
    quantity_rounding: RoundingBody | msgspec.UnsetType | None = msgspec.UNSET
    billable_metric_id: Any = None
    pricing_group_key: Any = None
    presentation_group_key: Any = None
    composite_product_ids: Any = None
    composite_tags: Any = None


class ById(msgspec.Struct):
    id: str


class ByProductId(msgspec.Struct):
    product_id: str


class ListProducts(msgspec.Struct):
    archive_filter: str | None = None


class ProductsApi:
    def __init__(self, shelf: Shelf, usage: UsageReader, clock: Clock) -> None:
        self._shelf = shelf
        self._usage = usage
        self._clock = clock

    def create(self, request: Request) -> dict[str, Any]:
        body = request.json(CreateProduct)
        product_type = _type(body.type)
        _check_usage_only(product_type, body)
        if product_type is ProductType.USAGE:
            self._check_metric(request.tenant, body)
        product = Product(
            id=str(uuid.uuid4()),
            name=body.name,
            type=product_type,
            created_at=self._clock.now(),
            created_by=request.principal.key_id,
            metric_id=body.billable_metric_id if product_type is ProductType.USAGE else None,
            pricing_group_key=tuple(body.pricing_group_key or ()),
            presentation_group_key=tuple(body.presentation_group_key or ()),
            tags=tuple(body.tags or ()),
            custom_fields=body.custom_fields or {},
            quantity_conversion=conversion_of(body.quantity_conversion),
            quantity_rounding=rounding_of(body.quantity_rounding),
        )
        self._shelf.add_product(request.tenant, product)
        return {"data": {"id": product.id}}

    def get(self, request: Request) -> dict[str, Any]:
        product = self._shelf.product(request.tenant, request.json(ById).id, "id")
        return {"data": _view(product, self._clock.now())}

    def list(self, request: Request) -> dict[str, Any]:
        """Pages in order of creation; archived products only where `archive_filter` says so."""
        wanted = request.json(ListProducts).archive_filter or "NOT_ARCHIVED"
        if wanted.upper() not in ARCHIVE_FILTERS:
            raise BadRequest("archive_filter is ARCHIVED, NOT_ARCHIVED or ALL", field="archive_filter")
        limit = request.limit(PAGE_MAX, PAGE_MAX)
        found = [
            (sequence, product)
            for sequence, product in self._shelf.products_after(
                request.tenant, decode_cursor(request.query.get("next_page"))
            )
            if (product.archived_at is not None) in ARCHIVE_FILTERS[wanted.upper()]
        ]
        now = self._clock.now()
        views = [_view(product, now) for _, product in found[: limit + 1]]
        return page(views, limit, found[:limit][-1][0] if found else None)

    def update(self, request: Request) -> dict[str, Any]:
        """Another name, other tags or another quantity from an instant on; what is final stays as it was."""
        body = request.json(UpdateProduct)
        product = self._shelf.product(request.tenant, body.product_id)
        if product.archived_at is not None:
            raise BadRequest(f"product {product.id} is archived", field="product_id")
        _check_update(product, body)
        update = ProductUpdate(
            starting_at=_on_the_hour(body.starting_at),
            created_at=self._clock.now(),
            created_by=request.principal.key_id,
            name=body.name,
            tags=body.tags if isinstance(body.tags, msgspec.UnsetType) else tuple(body.tags),
            quantity_conversion=_unless_unset(body.quantity_conversion, conversion_of),
            quantity_rounding=_unless_unset(body.quantity_rounding, rounding_of),
        )
        self._shelf.update_product(request.tenant, product.id, update)
        return {"data": {"id": product.id}}

    def archive(self, request: Request) -> dict[str, Any]:
        """No new rate may name the product; what is priced already goes on being billed."""
        product_id = request.json(ByProductId).product_id
        self._shelf.archive_product(request.tenant, product_id, self._clock.now())
        return {"data": {"id": product_id}}

    def _check_metric(self, tenant: str, body: CreateProduct) -> None:
        """Raise where the metric is missing, unknown, or not grouped by every key that the product names."""
        if body.billable_metric_id is None:
            raise BadRequest("a USAGE product needs a billable_metric_id", field="billable_metric_id")
        metric = self._usage.metric(tenant, body.billable_metric_id)
        if metric is None:
            raise NotFound(f"there is no billable metric {body.billable_metric_id}", field="billable_metric_id")
        _check_keys(body.pricing_group_key or (), metric.group_keys, "pricing_group_key")
        _check_keys(body.presentation_group_key or (), metric.group_keys, "presentation_group_key")


def _check_usage_only(product_type: ProductType, body: CreateProduct | UpdateProduct) -> None:
    for field in ("quantity_conversion", "quantity_rounding"):
        if product_type is not ProductType.USAGE and getattr(body, field):
            raise BadRequest(f"{product_type.value} products have no quantity to convert", field=field)


def _check_update(product: Product, body: UpdateProduct) -> None:
    """Raise where a part would change that cannot."""
    _check_usage_only(product.type, body)
    kept: dict[str, object] = {
        "billable_metric_id": product.metric_id,
        "pricing_group_key": list(product.pricing_group_key),
        "presentation_group_key": list(product.presentation_group_key),
        "composite_product_ids": [],
        "composite_tags": [],
    }
    for field, value in kept.items():
        if getattr(body, field) not in (None, value):
            raise Unprocessable(f"{field} of a product cannot change: make another product", field=field)


def _on_the_hour(instant: datetime) -> datetime:
    start = as_utc(instant, "starting_at")
    if (start.minute, start.second, start.microsecond) != (0, 0, 0):
        raise BadRequest("an update goes into effect on the hour", field="starting_at")
    return start


def _unless_unset(body: B | msgspec.UnsetType, noun_of: Callable[[B], N]) -> N | msgspec.UnsetType:
    return msgspec.UNSET if isinstance(body, msgspec.UnsetType) else noun_of(body)


def _check_keys(keys: Sequence[str], known: Sequence[str], field: str) -> None:
    for key in keys:
        if key not in known:
            raise BadRequest(f"the billable metric has no group key {key}", field=field)
    if len(set(keys)) < len(keys):
        raise BadRequest(f"{field} names a key twice", field=field)


def _type(text: str) -> ProductType:
    try:
        return ProductType(text.upper())
    except ValueError as exc:
        if text.upper() in OTHER_TYPES:
            raise Unprocessable(f"products of type {text.upper()} are not supported", field="type") from exc
        raise BadRequest(f"{text} is no product type", field="type") from exc


def _view(product: Product, now: datetime) -> dict[str, Any]:
    return {
        "id": product.id,
        "type": product.type.value,
        "initial": _state(product),
        "current": _state(product.at(now)) | _since(product, now),
        "updates": [_update_view(update) for update in product.updates],
        "archived_at": product.archived_at,
        "custom_fields": product.custom_fields,
    }


def _since(product: Product, now: datetime) -> dict[str, Any]:
    """When and by whom the product was made what it is, where an update did."""
    past = [update for update in product.updates if update.starting_at <= now]
    last = max(reversed(past), key=lambda update: update.starting_at, default=None)
    return {} if last is None else _stamp(last)


def _stamp(update: ProductUpdate) -> dict[str, Any]:
    return {"created_at": update.created_at, "created_by": update.created_by, "starting_at": update.starting_at}


def _update_view(update: ProductUpdate) -> dict[str, Any]:
    """Only what it changed."""
    view, changes = _stamp(update), update.changes
    if "name" in changes:
        view["name"] = changes["name"]
    if "tags" in changes:
        view["tags"] = list(changes["tags"])
    if "quantity_conversion" in changes:
        view["quantity_conversion"] = conversion_view(changes["quantity_conversion"])
    if "quantity_rounding" in changes:
        view["quantity_rounding"] = rounding_view(changes["quantity_rounding"])
    return view


def _state(product: Product) -> dict[str, Any]:
    return {
        "created_at": product.created_at,
        "created_by": product.created_by,
        "name": product.name,
        "billable_metric_id": product.metric_id,
        "pricing_group_key": list(product.pricing_group_key) or None,
        "presentation_group_key": list(product.presentation_group_key) or None,
        "tags": list(product.tags),
        "starting_at": None,
        "composite_product_ids": None,
        "composite_tags": None,
        "exclude_free_usage": None,
        "include_composite_spend": None,
        "is_refundable": None,
        "netsuite_internal_item_id": None,
        "netsuite_overage_item_id": None,
        "quantity_conversion": conversion_view(product.quantity_conversion),
        "quantity_rounding": rounding_view(product.quantity_rounding),
    }
