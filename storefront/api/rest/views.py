"""The REST dialect: each view reads the request, makes one domain call, and shapes the answer."""

from __future__ import annotations

import functools
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.exceptions import ParseError
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import ledger, statement
from accounts.models import Permission
from accounts.money import ZERO
from catalog import listing as catalogue
from orders import cancellations, listing, refills
from orders.bulk import place_many
from orders.checkout import Placed, place_order, read_idempotency_key
from orders.models import Source
from orders.moves import By, by_customer
from orders.requests import OrderDraft, read_integer
from storefront.api import gate, prepared
from storefront.api.batches import read_batch
from storefront.api.conditional import Content, conditional
from storefront.api.openapi.document import document
from storefront.api.rest.base import RestView, customer_of, key_of
from storefront.api.rest.errors import body_of_item
from storefront.api.rest.pagination import page_of
from storefront.api.rest.schema import (
    CANCEL_REFUSED,
    CONDITIONAL,
    ERRORS,
    IDEMPOTENCY,
    INVALID,
    NOT_FOUND,
    REFILL_REFUSED,
    REFUSED,
)
from storefront.api.rest.serializers import (
    BalanceSerializer,
    BulkRequestSerializer,
    BulkSerializer,
    CancelledSerializer,
    CatalogueSerializer,
    CreatedOrderSerializer,
    OrderDetailSerializer,
    OrderRequestSerializer,
    OrderSerializer,
    OrdersPageSerializer,
    OrdersQuerySerializer,
    PageQuerySerializer,
    PlacedSerializer,
    RefillRequestedSerializer,
    RefillSerializer,
    ServiceSerializer,
    TransactionSerializer,
    TransactionsPageSerializer,
    TransactionsQuerySerializer,
)


class ServicesView(RestView):
    needs = {"GET": Permission.SERVICES_READ}

    @extend_schema(
        operation_id="list_services",
        summary="Services that can be ordered now, by category",
        parameters=CONDITIONAL,
        responses={200: CatalogueSerializer, 304: None, **ERRORS},
    )
    def get(self, request: Request) -> HttpResponse:
        """An object: category name → services, with prices in the key's currency."""
        shape = CatalogueSerializer().to_representation
        return conditional(
            request._request, prepared.services("rest", key_of(request).currency, shape)
        )


class ServiceView(RestView):
    needs = {"GET": Permission.SERVICES_READ}

    @extend_schema(
        operation_id="get_service",
        summary="One service that can be ordered now",
        responses={200: ServiceSerializer, **ERRORS, **NOT_FOUND},
    )
    def get(self, request: Request, reference: str) -> Response:
        """With its price in the key's currency."""
        listed = catalogue.find(read_integer(reference) or 0, currency=key_of(request).currency)
        return Response(ServiceSerializer(listed).data)


class OrdersView(RestView):
    http_method_names = ["get", "post"]
    needs = {"GET": Permission.ORDERS_READ, "POST": Permission.ORDERS_WRITE}

    @extend_schema(
        operation_id="list_orders",
        summary="Your orders, newest first",
        parameters=[OrdersQuerySerializer],
        responses={200: OrdersPageSerializer, **ERRORS, **INVALID},
    )
    def get(self, request: Request) -> Response:
        """A page past the end is empty. Filters may be combined."""
        filters = _query(request, OrdersQuerySerializer)
        number, per_page = filters.pop("page"), filters.pop("per_page")
        orders = listing.orders_of(
            customer_of(request), statuses=filters.pop("status", ()), **filters
        )
        page = page_of(orders, number=number, per_page=per_page)
        shape = OrderSerializer().to_representation
        return Response(page.shape([shape(order) for order in page.rows]))

    @extend_schema(
        operation_id="create_order",
        summary="Place an order, charged at once",
        parameters=IDEMPOTENCY,
        request=OrderRequestSerializer,
        responses={201: PlacedSerializer, **ERRORS, **REFUSED, **NOT_FOUND, **INVALID},
    )
    def post(self, request: Request) -> Response:
        """The wallet of the key's currency is charged and the order waits to be delivered.

        Send an Idempotency-Key to be able to repeat a request whose answer was lost.
        """
        data = request.data
        if not isinstance(data, dict):
            raise ParseError
        api_key = key_of(request)
        placed = place_order(
            customer=api_key.customer,
            currency=api_key.currency,
            draft=OrderDraft(
                service_id=data.get("service_id"),
                values=data,
                client_ref=data.get("client_ref", ""),
            ),
            source=Source.REST,
            idempotency_key=_idempotency_key(request),
            api_key=api_key,
        )
        body = {
            "message": _("Order created successfully"),
            "order": CreatedOrderSerializer(placed.order).data,
            "balance": placed.balance_after,
        }
        headers = {"Idempotent-Replayed": "true"} if placed.replayed else None
        return Response(body, status=201, headers=headers)


class BulkView(RestView):
    http_method_names = ["post"]
    needs = {"POST": Permission.ORDERS_WRITE}

    @extend_schema(
        operation_id="create_orders",
        summary="Place up to 100 orders at once",
        parameters=IDEMPOTENCY,
        request=BulkRequestSerializer,
        responses={200: BulkSerializer, **ERRORS, **REFUSED, **INVALID},
    )
    def post(self, request: Request) -> Response:
        """Each order has its own answer: what is wrong with one stops no other. Only where the
        wallet does not hold the total of all good ones is the whole refused.

        A repeat with the Idempotency-Key of the whole gets the first answer again, refusals too,
        unless nothing was placed then. An order may have an `idempotency_key` of its own: it is
        placed once, and what was refused is judged again.
        """
        data = request.data
        if not isinstance(data, dict):
            raise ParseError
        api_key = key_of(request)
        batch = place_many(
            customer=api_key.customer,
            currency=api_key.currency,
            items=read_batch(data.get("orders"), service="service_id"),
            source=Source.REST,
            api_key=api_key,
            idempotency_key=_idempotency_key(request),
        )
        placed = batch.placed
        body = {
            "data": [
                {"order": CreatedOrderSerializer(outcome.order).data}
                if isinstance(outcome, Placed)
                else body_of_item(outcome)
                for outcome in batch.outcomes
            ],
            "meta": {"placed": len(placed), "refused": len(batch.outcomes) - len(placed)},
            "balance": batch.balance,
        }
        replayed = placed and all(one.replayed for one in placed)
        return Response(body, headers={"Idempotent-Replayed": "true"} if replayed else None)


class OrderView(RestView):
    needs = {"GET": Permission.ORDERS_READ}

    @extend_schema(
        operation_id="get_order",
        summary="One order, by id or uuid",
        responses={200: OrderDetailSerializer, **ERRORS, **NOT_FOUND},
    )
    def get(self, request: Request, reference: str) -> Response:
        """Only your own orders are found."""
        return Response(OrderDetailSerializer(listing.find(customer_of(request), reference)).data)


class CancelView(RestView):
    http_method_names = ["post"]
    needs = {"POST": Permission.ORDERS_WRITE}

    @extend_schema(
        operation_id="cancel_order",
        summary="Cancel an order, or ask for it",
        request=None,
        responses={
            200: OpenApiResponse(CancelledSerializer, "Cancelled and paid back."),
            202: OpenApiResponse(
                CancelledSerializer, "Asked for: what is not delivered is paid back when it ends."
            ),
            **ERRORS,
            **CANCEL_REFUSED,
            **NOT_FOUND,
        },
    )
    def post(self, request: Request, reference: str) -> Response:
        """An order that was not passed on yet is cancelled at once."""
        order = listing.find(customer_of(request), reference)
        cancellations.request(order, by=_by(request))
        message = (
            _("The order is cancelled and paid back.")
            if order.is_final
            else _("The cancellation has been asked for.")
        )
        body = {"message": message, "order": OrderDetailSerializer(order).data}
        return Response(body, status=200 if order.is_final else 202)


class RefillOrderView(RestView):
    http_method_names = ["post"]
    needs = {"POST": Permission.REFILLS_WRITE}

    @extend_schema(
        operation_id="refill_order",
        summary="Ask for a refill of a finished order",
        request=None,
        responses={201: RefillRequestedSerializer, **ERRORS, **REFILL_REFUSED, **NOT_FOUND},
    )
    def post(self, request: Request, reference: str) -> Response:
        """Within the order's guarantee, one at a time."""
        order = listing.find(customer_of(request), reference)
        refill = refills.request(order, by=_by(request))
        body = {
            "message": _("The refill has been asked for."),
            "refill": RefillSerializer(refill).data,
        }
        return Response(body, status=201)


class RefillView(RestView):
    needs = {"GET": Permission.ORDERS_READ}

    @extend_schema(
        operation_id="get_refill",
        summary="One refill",
        responses={200: RefillSerializer, **ERRORS, **NOT_FOUND},
    )
    def get(self, request: Request, reference: str) -> Response:
        """Only refills of your own orders are found."""
        return Response(RefillSerializer(refills.find(customer_of(request), reference)).data)


class BalanceView(RestView):
    needs = {"GET": Permission.BALANCE_READ}

    @extend_schema(
        operation_id="get_balance",
        summary="What the key's wallet holds",
        responses={200: BalanceSerializer, **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """In the key's currency."""
        wallet = ledger.wallet_of(customer_of(request), key_of(request).currency)
        body = {
            "balance": wallet.balance,
            "currency": wallet.currency,
            "earnings": ZERO,
            "withdrawable": ZERO,
        }
        return Response(BalanceSerializer(body).data)


class TransactionsView(RestView):
    needs = {"GET": Permission.BALANCE_READ}

    @extend_schema(
        operation_id="list_transactions",
        summary="Every movement of the key's wallet, newest first",
        parameters=[TransactionsQuerySerializer],
        responses={200: TransactionsPageSerializer, **ERRORS, **INVALID},
    )
    def get(self, request: Request) -> Response:
        """A page past the end is empty. Filters may be combined."""
        filters = _query(request, TransactionsQuerySerializer)
        number, per_page = filters.pop("page"), filters.pop("per_page")
        wallet = ledger.wallet_of(customer_of(request), key_of(request).currency)
        page = page_of(statement.transactions(wallet, **filters), number=number, per_page=per_page)
        shape = TransactionSerializer().to_representation
        return Response(page.shape([shape(posting) for posting in page.rows]))


class PublicView(RestView):
    """Needs no key, and is not part of the published schema. A good key that comes all the same is
    counted, and told its limits."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    schema = None

    def perform_authentication(self, request: Request) -> None:
        asked = request._request
        gate.visit_of(asked).recognise(gate.key_in_headers(asked))


class OpenApiView(PublicView):
    """The OpenAPI document of both dialects."""

    def get(self, request: Request) -> HttpResponse:
        return conditional(request._request, _document())


class NowhereView(PublicView):
    """Every other address below the dialect's own: 404 in its own shape, to any method."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        self.perform_authentication(request)
        raise Http404

    def logged_as(self, request: HttpRequest) -> str:
        """Method and path as they were asked for: no route says more."""
        return f"{request.method} {request.path_info.removeprefix('/api/v1')}"


@functools.cache
def _document() -> Content:
    return Content(document())


def _query(request: Request, serializer: type[PageQuerySerializer]) -> dict[str, Any]:
    """The query's parameters, blank ones left out. Raises DRF's ValidationError."""
    given = {name: text for name, text in request.GET.dict().items() if str(text).strip()}
    query = serializer(data=given)
    query.is_valid(raise_exception=True)
    return dict(query.validated_data)


def _idempotency_key(request: Request) -> str | None:
    """Raises InvalidIdempotencyKey."""
    return read_idempotency_key(request.headers.get("Idempotency-Key"))


def _by(request: Request) -> By:
    return by_customer(customer_of(request), key_of(request))
