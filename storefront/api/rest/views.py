"""The REST dialect: each view reads the request, makes one domain call, and shapes the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation.trans_real import parse_accept_lang_header
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.exceptions import ParseError
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import ledger
from accounts.models import ApiKey, Permission, User
from accounts.money import ZERO
from catalog.listing import catalogue
from orders import cancellations, listing, refills
from orders.checkout import place_order
from orders.models import Source
from orders.moves import By, by_customer
from orders.requests import OrderDraft
from storefront.api.conditional import conditional
from storefront.api.parsing import NoFiles
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
    document,
)
from storefront.api.rest.serializers import (
    BalanceSerializer,
    CancelledSerializer,
    CatalogueSerializer,
    CreatedOrderSerializer,
    OrderDetailSerializer,
    OrderRequestSerializer,
    OrderSerializer,
    OrdersPageSerializer,
    OrdersQuerySerializer,
    PlacedSerializer,
    RefillRequestedSerializer,
    RefillSerializer,
)

LANGUAGES = ("fr", "en", "tr")


def language_of(request: HttpRequest) -> str:
    """The language of the answer's texts: French unless Accept-Language prefers another of ours."""
    for tag, quality in parse_accept_lang_header(request.headers.get("Accept-Language", "")):
        language = tag.partition("-")[0]
        if quality and language in LANGUAGES:
            return language
    return LANGUAGES[0]


class AlwaysJSON(BaseContentNegotiation):
    """Programs send all kinds of Accept headers and read the one kind of answer there is."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        kind = (request.content_type or "").partition(";")[0].strip().lower()
        return next((parser for parser in parsers if parser.media_type == kind), None)

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class RestView(APIView):
    """What all addresses of the dialect share."""

    content_negotiation_class = AlwaysJSON
    http_method_names = ["get"]
    # What a key must be allowed, by method.
    needs: Mapping[str, Permission] = {}

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        language = language_of(request)
        request.upload_handlers = [NoFiles(request)]
        with translation.override(language):
            response = super().dispatch(request, *args, **kwargs)
            if isinstance(response, Response):
                # Now, not after the view: lazy texts must meet this language.
                response.render()
        response.headers["Content-Language"] = language
        return response


class ServicesView(RestView):
    needs = {"GET": Permission.SERVICES_READ}

    @extend_schema(
        operation_id="list_services",
        summary="Services that can be ordered now, by category",
        parameters=CONDITIONAL,
        responses={200: CatalogueSerializer, 304: None, **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """An object: category name → services, with prices in the key's currency."""
        return Response(CatalogueSerializer(catalogue(_key(request).currency)).data)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = cast(HttpResponse, super().dispatch(request, *args, **kwargs))
        return conditional(request, response) if response.status_code == 200 else response


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
        given = {name: text for name, text in request.GET.dict().items() if str(text).strip()}
        query = OrdersQuerySerializer(data=given)
        query.is_valid(raise_exception=True)
        filters = dict(query.validated_data)
        number, per_page = filters.pop("page"), filters.pop("per_page")
        orders = listing.orders_of(
            _customer(request), statuses=filters.pop("status", ()), **filters
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
        api_key = _key(request)
        placed = place_order(
            customer=api_key.customer,
            currency=api_key.currency,
            draft=OrderDraft(
                service_id=data.get("service_id"),
                values=data,
                client_ref=data.get("client_ref", ""),
            ),
            source=Source.REST,
            idempotency_key=request.headers.get("Idempotency-Key"),
            api_key=api_key,
        )
        body = {
            "message": _("Order created successfully"),
            "order": CreatedOrderSerializer(placed.order).data,
            "balance": placed.balance_after,
        }
        headers = {"Idempotent-Replayed": "true"} if placed.replayed else None
        return Response(body, status=201, headers=headers)


class OrderView(RestView):
    needs = {"GET": Permission.ORDERS_READ}

    @extend_schema(
        operation_id="get_order",
        summary="One order, by id or uuid",
        responses={200: OrderDetailSerializer, **ERRORS, **NOT_FOUND},
    )
    def get(self, request: Request, reference: str) -> Response:
        """Only your own orders are found."""
        return Response(OrderDetailSerializer(listing.find(_customer(request), reference)).data)


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
        order = listing.find(_customer(request), reference)
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
        order = listing.find(_customer(request), reference)
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
        return Response(RefillSerializer(refills.find(_customer(request), reference)).data)


class BalanceView(RestView):
    needs = {"GET": Permission.BALANCE_READ}

    @extend_schema(
        operation_id="get_balance",
        summary="What the key's wallet holds",
        responses={200: BalanceSerializer, **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """In the key's currency."""
        wallet = ledger.wallet_of(_customer(request), _key(request).currency)
        body = {
            "balance": wallet.balance,
            "currency": wallet.currency,
            "earnings": ZERO,
            "withdrawable": ZERO,
        }
        return Response(BalanceSerializer(body).data)


class PublicView(RestView):
    """Needs no key, and is not part of the published schema."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    schema = None


class OpenApiView(PublicView):
    """The dialect's OpenAPI document."""

    def get(self, request: Request) -> HttpResponse:
        answer = HttpResponse(document(), content_type="application/json")
        return conditional(request._request, answer)


class NowhereView(PublicView):
    """Every other address below the dialect's own: 404 in its own shape, to any method."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise Http404


def _key(request: Request) -> ApiKey:
    assert isinstance(request.auth, ApiKey)
    return request.auth


def _customer(request: Request) -> User:
    return _key(request).customer


def _by(request: Request) -> By:
    return by_customer(_customer(request), _key(request))
