"""Webhooks in the REST dialect: a program manages its own endpoints, and reads how it was told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from accounts import webhooks
from accounts.models import Permission, WebhookDelivery, WebhookEndpoint
from storefront.api.rest.base import RestView, customer_of
from storefront.api.rest.pagination import page_of
from storefront.api.rest.schema import ERRORS, INVALID
from storefront.api.rest.serializers import ErrorSerializer
from storefront.api.rest.webhook_serializers import (
    DeliveriesPageSerializer,
    DeliveriesQuerySerializer,
    DeliveryDetailSerializer,
    DeliverySentSerializer,
    DeliverySerializer,
    RotateRequestSerializer,
    WebhookChangedSerializer,
    WebhookRemovedSerializer,
    WebhookRequestSerializer,
    WebhookSecretSerializer,
    WebhookSerializer,
    WebhooksSerializer,
)

_MISSING = {404: OpenApiResponse(ErrorSerializer, "`webhook_not_found`")}
_UNREADABLE = {415: OpenApiResponse(ErrorSerializer, "`unsupported_media_type`")}
_ANSWERS = {**ERRORS, **_MISSING}
_CONFLICT = {409: OpenApiResponse(ErrorSerializer, "`webhook_refused`")}


class WebhooksView(RestView):
    http_method_names = ["get", "post"]
    needs = {"GET": Permission.WEBHOOKS_WRITE, "POST": Permission.WEBHOOKS_WRITE}

    @extend_schema(
        operation_id="list_webhooks",
        summary="Your webhooks",
        responses={200: WebhooksSerializer, **ERRORS},
    )
    def get(self, request: Request) -> Response:
        """The addresses that are told what happens; a sandbox key has its own."""
        endpoints = webhooks.endpoints_of(customer_of(request))
        shape = WebhookSerializer().to_representation
        return Response({"data": [shape(endpoint) for endpoint in endpoints]})

    @extend_schema(
        operation_id="create_webhook",
        summary="Add a webhook",
        request=WebhookRequestSerializer,
        responses={201: WebhookSecretSerializer, **ERRORS, **_UNREADABLE, **INVALID},
    )
    def post(self, request: Request) -> Response:
        """`secret` signs what is sent; it is told this once."""
        values = _read(request, WebhookRequestSerializer)
        endpoint, secret = webhooks.create(customer_of(request), **values)
        return _changed(_("The webhook is made."), endpoint, status=201, secret=secret)


class WebhookView(RestView):
    http_method_names = ["get", "delete"]
    needs = {"GET": Permission.WEBHOOKS_WRITE, "DELETE": Permission.WEBHOOKS_WRITE}

    @extend_schema(
        operation_id="get_webhook",
        summary="One webhook",
        responses={200: WebhookSerializer, **_ANSWERS},
    )
    def get(self, request: Request, reference: str) -> Response:
        """Only your own webhooks are found."""
        return Response(WebhookSerializer(_endpoint(request, reference)).data)

    @extend_schema(
        operation_id="delete_webhook",
        summary="Remove a webhook",
        responses={200: WebhookRemovedSerializer, **_ANSWERS},
    )
    def delete(self, request: Request, reference: str) -> Response:
        """It is told nothing more, and its log goes with it."""
        webhooks.remove(_endpoint(request, reference))
        return Response({"message": _("The webhook is removed.")})


class _WebhookAction(RestView):
    """Something that is done to one endpoint."""

    http_method_names = ["post"]
    needs = {"POST": Permission.WEBHOOKS_WRITE}


class RotateWebhookView(_WebhookAction):
    @extend_schema(
        operation_id="rotate_webhook",
        summary="A new signing secret",
        request=RotateRequestSerializer,
        responses={200: WebhookSecretSerializer, **_ANSWERS, **_UNREADABLE, **INVALID},
    )
    def post(self, request: Request, reference: str) -> Response:
        """Until the grace time ends requests carry both signatures."""
        endpoint = _endpoint(request, reference)
        hours = _read(request, RotateRequestSerializer)["grace_hours"]
        secret = webhooks.rotate(endpoint, grace=timedelta(hours=hours))
        return _changed(_("The webhook has a new secret."), endpoint, secret=secret)


class EnableWebhookView(_WebhookAction):
    @extend_schema(
        operation_id="enable_webhook",
        summary="Switch a webhook on",
        request=None,
        responses={200: WebhookChangedSerializer, **_ANSWERS},
    )
    def post(self, request: Request, reference: str) -> Response:
        """It is told again what happens from now on."""
        endpoint = _endpoint(request, reference)
        webhooks.enable(endpoint)
        return _changed(_("The webhook is switched on."), endpoint)


class DisableWebhookView(_WebhookAction):
    @extend_schema(
        operation_id="disable_webhook",
        summary="Switch a webhook off",
        request=None,
        responses={200: WebhookChangedSerializer, **_ANSWERS},
    )
    def post(self, request: Request, reference: str) -> Response:
        """Nothing is sent to it until it is switched on; what waits is given up."""
        endpoint = _endpoint(request, reference)
        webhooks.disable(endpoint)
        return _changed(_("The webhook is switched off."), endpoint)


class TestWebhookView(_WebhookAction):
    @extend_schema(
        operation_id="test_webhook",
        summary="Send a test event",
        request=None,
        responses={202: DeliverySentSerializer, **_ANSWERS},
    )
    def post(self, request: Request, reference: str) -> Response:
        """Its type is `test`; what became of it is told by its delivery."""
        return _sent(webhooks.send_test(_endpoint(request, reference)))


class DeliveriesView(RestView):
    needs = {"GET": Permission.WEBHOOKS_WRITE}

    @extend_schema(
        operation_id="list_webhook_deliveries",
        summary="What a webhook was told in the last 30 days, newest first",
        parameters=[DeliveriesQuerySerializer],
        responses={200: DeliveriesPageSerializer, **_ANSWERS, **INVALID},
    )
    def get(self, request: Request, reference: str) -> Response:
        """A page past the end is empty."""
        endpoint = _endpoint(request, reference)
        given = {name: text for name, text in request.GET.dict().items() if str(text).strip()}
        query = DeliveriesQuerySerializer(data=given)
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        page = page_of(
            webhooks.deliveries_of(endpoint, state=asked["status"]),
            number=asked["page"],
            per_page=asked["per_page"],
        )
        shape = DeliverySerializer().to_representation
        return Response(page.shape([shape(delivery) for delivery in page.rows]))


class DeliveryView(RestView):
    needs = {"GET": Permission.WEBHOOKS_WRITE}

    @extend_schema(
        operation_id="get_webhook_delivery",
        summary="One delivery, with its body and every attempt",
        responses={200: DeliveryDetailSerializer, **_ANSWERS},
    )
    def get(self, request: Request, reference: str) -> Response:
        """Only deliveries to your own webhooks are found."""
        return Response(DeliveryDetailSerializer(_delivery(request, reference)).data)


class ReplayView(_WebhookAction):
    @extend_schema(
        operation_id="replay_webhook_delivery",
        summary="Send an event again",
        request=None,
        responses={202: DeliverySentSerializer, **_ANSWERS, **_CONFLICT},
    )
    def post(self, request: Request, reference: str) -> Response:
        """The same bytes under the same `webhook-id`, as a delivery of its own; refused while the
        event is still being sent, and while the webhook is off."""
        return _sent(webhooks.replay(_delivery(request, reference)))


def _read(request: Request, serializer: type[Serializer[Any]]) -> dict[str, Any]:
    if not isinstance(request.data, dict):
        raise ParseError
    read = serializer(data=request.data)
    read.is_valid(raise_exception=True)
    return dict(read.validated_data)


def _endpoint(request: Request, reference: str) -> WebhookEndpoint:
    return webhooks.find(customer_of(request), reference)


def _delivery(request: Request, reference: str) -> WebhookDelivery:
    return webhooks.find_delivery(customer_of(request), reference)


def _changed(
    message: str, endpoint: WebhookEndpoint, *, status: int = 200, **more: str
) -> Response:
    body = {"message": message, "webhook": WebhookSerializer(endpoint).data, **more}
    return Response(body, status=status)


def _sent(delivery: WebhookDelivery) -> Response:
    body = {
        "message": _("The event is on its way."),
        "delivery": DeliverySerializer(delivery).data,
    }
    return Response(body, status=202)
