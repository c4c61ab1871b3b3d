"""What the shop shows and sells: services that can be ordered now, with their prices."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import Case, Count, Exists, OuterRef, Q, QuerySet, Value, When

from accounts.exchange import RateBook
from accounts.money import MAX_BIGINT
from catalog.models import SHOP_ORDER, Category, Network, Service
from catalog.order_types import SOLD_TYPES
from catalog.pricing import CatalogError, NotPriced, Price, PriceBook
from catalog.search import normalise

__all__ = [
    "CatalogError",
    "Listed",
    "NetworkCount",
    "SearchResult",
    "ServiceNotFound",
    "ServiceUnavailable",
    "catalogue",
    "categories",
    "find",
    "find_many",
    "networks",
    "search",
]

# Nobody types more, and each word is one more condition of the query.
MAX_WORDS = 12


class ServiceNotFound(CatalogError):
    """There is no such service, or it is of a type that is not sold."""


class ServiceUnavailable(CatalogError):
    """The service exists, and cannot be ordered now, or not in this currency."""


@dataclass(frozen=True)
class Listed:
    """A service that can be ordered, and its price; provider, category and facts are loaded."""

    service: Service
    price: Price


@dataclass(frozen=True)
class SearchResult:
    """A part of what was found, and how many there are in all."""

    items: list[Listed]
    total: int


@dataclass(frozen=True)
class NetworkCount:
    """A network, and how many of its services can be ordered."""

    network: Network
    services: int


def catalogue(currency: str) -> list[Listed]:
    """Every service that can be ordered in this currency, in shop order (five queries)."""
    exchange = RateBook()
    services = list(_loaded(_priced(currency, exchange)))
    return _listed(services, PriceBook(currency, exchange=exchange))


def search(
    *,
    currency: str,
    text: str = "",
    network: str = "",
    category_id: int | None = None,
    limit: int,
    offset: int = 0,
) -> SearchResult:
    """Services that can be ordered in this currency and match every filter that is given.

    Each word of `text` must stand somewhere in the service's names, category or network; a number
    also finds the service with that id. Best first: the id, then names that begin with the text,
    then words that begin with the text's, then the rest; each in shop order. Six queries.
    """
    exchange = RateBook()
    found = _priced(currency, exchange)
    if network:
        found = found.filter(category__network=network)
    if category_id is not None:
        # Through its key: an id beyond the column then finds nothing, instead of failing.
        found = found.filter(category__pk=category_id)
    if words := normalise(text).split()[:MAX_WORDS]:
        found = _matching(found, words)
    total = found.count()
    services = list(_loaded(found)[offset : offset + limit])
    prices = PriceBook(currency, services, exchange=exchange)
    return SearchResult(_listed(services, prices), total)


def find(service_id: int, *, currency: str) -> Listed:
    """The service, if it can be ordered now in this currency.

    Raises ServiceNotFound or ServiceUnavailable.
    """
    found = find_many([service_id], currency=currency)[service_id]
    if isinstance(found, CatalogError):
        raise found
    return found


def find_many(
    service_ids: Collection[int], *, currency: str
) -> dict[int, Listed | ServiceNotFound | ServiceUnavailable]:
    """What `find` returns or raises for each of these ids, in as many queries as for one."""
    # Ids beyond the column find nothing, instead of failing.
    ids = [pk for pk in service_ids if 0 < pk <= MAX_BIGINT]
    services = {
        service.pk: service
        for service in _loaded(Service.objects.filter(pk__in=ids, type__in=SOLD_TYPES))
    }
    orderable = [service for service in services.values() if service.is_orderable]
    prices = PriceBook(currency, orderable) if orderable else None
    found: dict[int, Listed | ServiceNotFound | ServiceUnavailable] = {}
    for pk in service_ids:
        service = services.get(pk)
        if service is None:
            found[pk] = ServiceNotFound(f"service {pk}")
        elif prices is None or not service.is_orderable:
            found[pk] = ServiceUnavailable(f"service {pk}")
        else:
            try:
                found[pk] = Listed(service, prices.price(service))
            except NotPriced as error:
                found[pk] = ServiceUnavailable(str(error))
    return found


def networks() -> list[NetworkCount]:
    """The networks that have services which can be ordered, in the order of `Network`."""
    counts = dict(
        Service.objects.orderable()
        .order_by()
        .values_list("category__network")
        .annotate(services=Count("pk"))
    )
    return [NetworkCount(network, counts[network]) for network in Network if network in counts]


def categories(network: str = "") -> list[Category]:
    """The categories (of one network) that have services which can be ordered, in shop order."""
    having = Category.objects.filter(
        Exists(Service.objects.orderable().filter(category=OuterRef("pk")))
    )
    return list(having.filter(network=network) if network else having)


def _priced(currency: str, exchange: RateBook) -> QuerySet[Service]:
    """The orderable services for which `PriceBook` has a price in this currency."""
    return Service.objects.orderable().filter(provider__currency__in=exchange.worth_in(currency))


def _matching(services: QuerySet[Service], words: list[str]) -> QuerySet[Service]:
    every, begun = Q(), Q()
    for word in words:
        every &= Q(search_text__contains=word)
        begun &= Q(search_text__startswith=word) | Q(search_text__contains=f" {word}")
    the_one = Q(pk__in=_ids(words))
    return (
        services.filter(every | the_one)
        .annotate(
            distance=Case(
                When(the_one, then=Value(0)),
                When(search_text__startswith=" ".join(words), then=Value(1)),
                When(begun, then=Value(2)),
                default=Value(3),
            )
        )
        .order_by("distance", *SHOP_ORDER)
    )


def _ids(words: list[str]) -> list[int]:
    """The service id that the words are, if they are one number."""
    if len(words) == 1 and words[0].isdecimal() and len(words[0]) <= len(str(MAX_BIGINT)):
        number = int(words[0])
        return [number] if number <= MAX_BIGINT else []
    return []


def _loaded(services: QuerySet[Service]) -> QuerySet[Service]:
    """With facts, and with provider and category, one object each for all their services."""
    return services.select_related("facts").prefetch_related("provider", "category")


def _listed(services: list[Service], prices: PriceBook) -> list[Listed]:
    return [
        Listed(service, price)
        for service in services
        if (price := prices.price_or_none(service)) is not None
    ]
