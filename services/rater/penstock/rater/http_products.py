"""The products API in Metronome's shapes: create, get, list, archive."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from penstock.kernel.ports.clock import Clock
from penstock.kernel.ports.siblings import UsageReader
from penstock.kernel.problems import BadRequest, NotFound, Unprocessable
from penstock.rater.definitions import Product, ProductType
from penstock.rater.shelf import Shelf
from penstock.web.page import decode_cursor, page
from penstock.web.route import Request

PAGE_MAX = 100
# Types that Metronome knows and that would be billed wrongly if they were taken for another.
OTHER_TYPES = frozenset({"COMPOSITE", "SUBSCRIPTION", "PRO_SERVICE", "PROFESSIONAL_SERVICE"})
ARCHIVE_FILTERS = {"ARCHIVED": {True}, "NOT_ARCHIVED": {False}, "ALL": {True, False}}

Name = Annotated[str, msgspec.Meta(min_length=1)]


class CreateProduct(msgspec.Struct, kw_only=True):
    """`Any` is for what changes a quantity: refused by name wherever it is set."""

    name: Name
    type: str
    billable_metric_id: str | None = None
    pricing_group_key: list[str] | None = None
    presentation_group_key: list[str] | None = None
    tags: list[str] | None = None
    custom_fields: dict[str, str] | None = None
    quantity_conversion: Any = None
    quantity_rounding: Any = None


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
        for field in ("quantity_conversion", "quantity_rounding"):
            if getattr(body, field) is not None:
                raise Unprocessable(f"{field} is not supported", field=field)
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
        )
        self._shelf.add_product(request.tenant, product)
        return {"data": {"id": product.id}}

    def get(self, request: Request) -> dict[str, Any]:
        return {"data": _view(self._shelf.product(request.tenant, request.json(ById).id, "id"))}

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
        views = [_view(product) for _, product in found[: limit + 1]]
        return page(views, limit, found[:limit][-1][0] if found else None)

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


def _view(product: Product) -> dict[str, Any]:
    state = _state(product)
    return {
        "id": product.id,
        "type": product.type.value,
        "initial": state,
        "current": state,
        "updates": [],
        "archived_at": product.archived_at,
        "custom_fields": product.custom_fields,
    }


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
        "quantity_conversion": None,
        "quantity_rounding": None,
    }
