"""The REST dialect as the sandbox speaks it: resources under `/api/v1`, French texts.

The same shop as the panel dialect's, so an order bought in one is seen in the other.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from catalog.order_types import ORDER_TYPES, ChargedOn
from catalog.sandbox.delivery import COMPLETED, IN_PROGRESS, REJECTED
from catalog.sandbox.menu import Item
from catalog.sandbox.replies import Reply, plain, to_json
from catalog.sandbox.shop import (
    CURRENCY,
    LONGEST_REFERENCE,
    MOST_IDS,
    NoFunds,
    Refusal,
    Shop,
    whole,
)
from catalog.sandbox.state import KeyReused, Refilling, Taken

PREFIX = "/api/v1/"
PER_PAGE = 20
CREATED = "Commande créée avec succès"

# The dialect's words; a subscription that expired delivered a part.
_WORDS = {
    "Pending": "pending",
    "In progress": "in_progress",
    "Active": "in_progress",
    "Completed": "completed",
    "Partial": "partial",
    "Expired": "partial",
    "Canceled": "cancelled",
    "Fail": "failed",
}
_REFILL_WORDS = {IN_PROGRESS: "pending", COMPLETED: "completed", REJECTED: "rejected"}
_TITLES = {400: "Bad Request", 404: "Not Found", 409: "Conflict", 422: "Validation Error"}
_STATUS_OF_CODE = {
    "not_found": 404,
    "refill_refused": 400,
    "cancel_refused": 400,
    "refill_open": 409,
    "cancel_requested": 409,
}


@dataclass(frozen=True)
class Request:
    """One call: `action` is its name in the panel dialect, `target` the id in its path."""

    action: str
    target: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str = ""

    @property
    def parameters(self) -> dict[str, str]:
        """What a test sees of the call: everything that was sent but the key, as texts."""
        named = {"id": self.target, "idempotency_key": self.idempotency_key}
        sent = {**self.query, **self.body, **{k: v for k, v in named.items() if v}}
        return {"action": self.action, **{name: str(value) for name, value in sent.items()}}


_ROUTES = (
    ("GET", re.compile("services"), "services"),
    ("GET", re.compile("balance"), "balance"),
    ("POST", re.compile("orders"), "add"),
    ("GET", re.compile("orders"), "status"),
    ("GET", re.compile("orders/([^/]+)"), "order"),
    ("POST", re.compile("orders/([^/]+)/cancel"), "cancel"),
    ("POST", re.compile("orders/([^/]+)/refill"), "refill"),
    ("GET", re.compile("refills/([^/]+)"), "refill_status"),
)


def route(method: str, path: str) -> tuple[str, str]:
    """The action and the id in the path; ("", "") where there is no such resource."""
    rest = path.removeprefix(PREFIX).rstrip("/")
    for wanted, pattern, action in _ROUTES:
        if wanted == method and (match := pattern.fullmatch(rest)):
            return action, match[1] if match.groups() else ""
    return "", ""


class RestDesk:
    """Answers the calls of the dialect over a shop."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._actions: dict[str, Callable[[Request], tuple[int, object]]] = {
            "services": self._services,
            "add": self._add,
            "status": self._list,
            "find": self._list,
            "order": self._one,
            "balance": self._balance,
            "refill": self._refill,
            "refill_status": self._refill_status,
            "cancel": self._cancel,
        }

    def answer(self, request: Request) -> tuple[int, Any, Mapping[str, str]]:
        """Status, JSON value and headers of the answer."""
        action = self._actions.get(request.action)
        if action is None:
            return 404, _error(404, "Ressource introuvable.", code="not_found"), {}
        try:
            if request.action == "add" and request.idempotency_key:
                return self._add_once(request)
            status, answer = action(request)
        except NoFunds as refusal:
            return 400, _no_funds(refusal.required, refusal.available), {}
        except KeyReused:
            text = "Cette clé d'idempotence a servi à une autre commande."
            return 422, _error(422, text, code="idempotency_key_reused"), {}
        except Refusal as refusal:
            status = _STATUS_OF_CODE.get(refusal.code, 422)
            return status, _error(status, str(refusal), code=refusal.code, field=refusal.field), {}
        return status, answer, {}

    # --- misbehaving on command --------------------------------------------------------------

    def refuse(self, text: str, *, status: int | None) -> Reply:
        """A no in these words."""
        return plain(_error(status or 422, text), status=status or 422)

    def out_of_funds(self) -> Reply:
        """Our balance does not cover it."""
        return plain(_no_funds(Decimal(50), Decimal(10)), status=400)

    def too_many(self, seconds: float) -> Reply:
        """Turned away unread, with the seconds to wait."""
        answer = {
            "error": "Too Many Requests",
            "message": "Vous avez dépassé la limite de requêtes. "
            f"Réessayez dans {seconds:.0f} secondes.",
            "retry_after": seconds,
            "code": "rate_limited",
        }
        return plain(answer, status=429)

    def unauthorised(self) -> Reply:
        """The key is none of ours."""
        answer = {
            "error": "Unauthorized",
            "message": "Clé API invalide.",
            "code": "invalid_api_key",
        }
        return plain(answer, status=401)

    def unreadable(self) -> Reply:
        """The body is no JSON object."""
        return plain(_error(400, "Corps de requête illisible.", code="bad_request"), status=400)

    # --- selling -----------------------------------------------------------------------------

    def _services(self, _request: Request) -> tuple[int, object]:
        groups: dict[str, list[object]] = defaultdict(list)
        for item in self._shop.menu.values():
            groups[item.category].append(_service(item))
        return 200, groups

    def _balance(self, _request: Request) -> tuple[int, object]:
        nothing = Decimal(0)
        return 200, {
            "balance": self._shop.state.balance(),
            "currency": CURRENCY,
            "earnings": nothing,
            "withdrawable": nothing,
        }

    def _add(self, request: Request) -> tuple[int, object]:
        body = {name: _text(value) for name, value in request.body.items() if value is not None}
        service, reference = body.pop("service_id", ""), body.pop("client_ref", "")
        if len(reference) > LONGEST_REFERENCE:
            raise Refusal("client_ref est trop long.", field="client_ref")
        order_id = self._shop.buy(service, body, reference=reference)
        order = self._shop.order(str(order_id))
        created = {
            "id": order.id,
            "uuid": _uuid(order),
            "service_id": order.service,
            "link": order.link,
            "quantity": order.total,
            "cost": order.cost,
            "currency": CURRENCY,
            "status": _WORDS[order.status],
            "created_at": _time(order.taken_at),
        }
        balance = self._shop.state.balance()
        return 201, {"message": CREATED, "order": created, "balance": balance}

    def _add_once(self, request: Request) -> tuple[int, Any, Mapping[str, str]]:
        """The answer to the first call with this key, kept as it was sent."""
        kept, replayed = self._shop.state.once(
            request.idempotency_key,
            to_json(dict(sorted(request.body.items()))),
            lambda: to_json(self._add(request)[1]),
        )
        headers = {"Idempotent-Replayed": "true"} if replayed else {}
        return 201, json.loads(kept, parse_float=Decimal), headers

    # --- telling -----------------------------------------------------------------------------

    def _list(self, request: Request) -> tuple[int, object]:
        query, state = request.query, self._shop.state
        if "ids" in query:
            ids = [part.strip() for part in query["ids"].split(",")]
            if len(ids) > MOST_IDS:
                raise Refusal(f"{MOST_IDS} identifiants au plus.", field="ids")
            orders = list(state.find([number for text in ids if (number := whole(text))]).values())
        elif "client_ref" in query:
            orders = state.with_reference(query["client_ref"])
        else:
            orders = state.orders()
        orders.sort(key=lambda order: order.id, reverse=True)
        page = whole(query.get("page", "1")) or 1
        size = min(whole(query.get("per_page", "")) or PER_PAGE, MOST_IDS)
        shown = orders[(page - 1) * size : page * size]
        return 200, {
            "data": [self._item(order) for order in shown],
            "meta": {"current_page": page, "total": len(orders), "per_page": size},
        }

    def _one(self, request: Request) -> tuple[int, object]:
        return 200, self._item(self._shop.order(request.target))

    def _item(self, order: Taken) -> dict[str, Any]:
        done = order.status == COMPLETED
        item = {
            "id": order.id,
            "uuid": _uuid(order),
            "service": {"id": order.service, "name": self._shop.menu[order.service].name},
            "link": order.link,
            "quantity": order.total,
            "cost": order.cost - order.paid_back,
            "status": _WORDS[order.status],
            "created_at": _time(order.taken_at),
            "completed_at": _time(order.ends_at) if done else None,
            "currency": CURRENCY,
            "start_count": order.start_count,
            "remains": order.remains,
            "client_ref": order.reference or None,
        }
        if order.posts is not None:
            item["posts"] = order.served
        said = {"cost" if name == "charge" else name: told for name, told in order.said.items()}
        return {**item, **said}

    # --- after the sale ----------------------------------------------------------------------

    def _refill(self, request: Request) -> tuple[int, object]:
        number = self._shop.begin_refill(request.target)
        refill = _refill(self._shop.refill(str(number)))
        return 201, {"message": "Demande de recharge enregistrée", "refill": refill}

    def _refill_status(self, request: Request) -> tuple[int, object]:
        return 200, _refill(self._shop.refill(request.target))

    def _cancel(self, request: Request) -> tuple[int, object]:
        self._shop.begin_cancel(request.target)
        order = self._item(self._shop.order(request.target))
        return 202, {"message": "Demande d'annulation enregistrée", "order": order}


def _service(item: Item) -> dict[str, object]:
    packaged = ORDER_TYPES[item.type].charged_on is ChargedOn.PACKAGE
    return {
        "id": item.id,
        "name": item.name,
        "category": item.category,
        "min_quantity": item.min,
        "max_quantity": item.max,
        "price_per_unit": item.rate if packaged else item.rate / 1000,
        "currency": CURRENCY,
        "average_time": "Données insuffisantes",
        "type": str(item.type),
        "description": item.description,
        "refill": item.refill,
        "cancel": item.cancel,
        "dripfeed": item.dripfeed,
    }


def _refill(refill: Refilling) -> dict[str, object]:
    ended = refill.status != IN_PROGRESS
    rejected = refill.status == REJECTED
    return {
        "id": refill.id,
        "order_id": refill.order,
        "status": _REFILL_WORDS[refill.status],
        "reason": "Rien n'a baissé." if rejected else None,
        "completed_at": _time(refill.done_at) if ended else None,
    }


def _error(status: int, text: str, *, code: str = "", field: str = "") -> dict[str, object]:
    errors = {"errors": {field: [text]}} if field else {}
    title = _TITLES.get(status, "Bad Request")
    return {"error": title, "message": text, **errors, "code": code or "refused"}


def _no_funds(required: Decimal, available: Decimal) -> dict[str, object]:
    return {
        "error": "Solde insuffisant",
        "message": f"Votre solde ({available:.2f} {CURRENCY}) est insuffisant pour cette commande "
        f"({required:.2f} {CURRENCY}).",
        "required": required,
        "current_balance": available,
        "code": "insufficient_balance",
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else to_json(value)


def _uuid(order: Taken) -> str:
    return str(uuid5(NAMESPACE_URL, f"sandbox:{order.id}"))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
