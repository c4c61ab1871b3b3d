"""What the views alone do not tell the OpenAPI document: keys, errors, and the catalogue's form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from storefront.api.rest.serializers import (
    ErrorSerializer,
    RefusedOrderSerializer,
    ServiceSerializer,
    ValidationErrorSerializer,
)

Direction = Literal["request", "response"]

ERRORS: dict[int, OpenApiResponse] = {
    400: OpenApiResponse(ErrorSerializer, "`bad_request`: it could not be read."),
    401: OpenApiResponse(ErrorSerializer, "`invalid_api_key`: no key, or one that is not valid."),
    403: OpenApiResponse(ErrorSerializer, "`permission_denied`, `account_suspended`"),
    405: OpenApiResponse(ErrorSerializer, "`method_not_allowed`"),
    500: OpenApiResponse(ErrorSerializer, "`server_error`"),
}
NOT_FOUND: dict[int, OpenApiResponse] = {
    404: OpenApiResponse(
        ErrorSerializer,
        "`service_not_found`, `order_not_found`, `refill_not_found`, `not_found`",
    ),
}
INVALID: dict[int, OpenApiResponse] = {
    422: OpenApiResponse(
        ValidationErrorSerializer,
        "`validation_error`, `invalid_idempotency_key`, `idempotency_key_reused`, "
        "`too_many_orders`",
    ),
}
REFUSED: dict[int, OpenApiResponse] = {
    400: OpenApiResponse(
        RefusedOrderSerializer, "`bad_request`, `insufficient_balance`, `service_unavailable`"
    ),
    409: OpenApiResponse(ErrorSerializer, "`link_busy`, `idempotency_key_in_use`"),
    415: OpenApiResponse(ErrorSerializer, "`unsupported_media_type`"),
}
CANCEL_REFUSED: dict[int, OpenApiResponse] = {
    400: OpenApiResponse(ErrorSerializer, "`bad_request`, `not_cancellable`"),
    409: OpenApiResponse(ErrorSerializer, "`cancel_requested`"),
}
REFILL_REFUSED: dict[int, OpenApiResponse] = {
    400: OpenApiResponse(ErrorSerializer, "`bad_request`, `not_refillable`, `refill_window_over`"),
    409: OpenApiResponse(ErrorSerializer, "`refill_open`"),
}
CONDITIONAL = [
    OpenApiParameter(
        "If-None-Match",
        str,
        OpenApiParameter.HEADER,
        description="The ETag of the answer that you have: 304 where it is still current.",
    ),
    OpenApiParameter("ETag", str, OpenApiParameter.HEADER, response=[200, 304]),
]
IDEMPOTENCY = [
    OpenApiParameter(
        "Idempotency-Key",
        str,
        OpenApiParameter.HEADER,
        description="1 to 255 printable characters. A repeat with the same body gets the first "
        "answer again and charges nothing; while the first still runs it may be 409.",
    ),
    OpenApiParameter(
        "Idempotent-Replayed",
        str,
        OpenApiParameter.HEADER,
        description="`true` when this is a repeated answer.",
        response=[200, 201],
    ),
]


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Both places where a key may stand; any one of them is enough."""

    target_class = "storefront.api.authentication.ApiKeyAuthentication"
    name = ["apiKey", "bearer"]

    def get_security_requirement(self, auto_schema: AutoSchema) -> list[dict[str, list[Any]]]:
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: AutoSchema) -> list[dict[str, str]]:
        return [
            {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            {"type": "http", "scheme": "bearer"},
        ]


class CatalogueShape(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """An object with the categories' own names: no declared field could say that."""

    target_class = "storefront.api.rest.serializers.CatalogueSerializer"

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> dict[str, Any]:
        service = auto_schema.resolve_serializer(ServiceSerializer, direction)
        return {
            "type": "object",
            "additionalProperties": {"type": "array", "items": service.ref},
        }


def without_slashes(endpoints: Iterable[tuple[str, Any, Any, Any]]) -> list[Any]:
    """Each address works with a trailing slash too; the document names it once."""
    return [endpoint for endpoint in endpoints if not endpoint[0].endswith("/")]
