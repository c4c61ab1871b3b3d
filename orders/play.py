"""What keeps the orders of sandbox keys apart from real ones: each rule once.

They are paid for with play money, delivered by the play provider (catalog/providers/play.py), and
nobody's work: no alert, no queue of staff and no figure tells of them. Real orders never wait for
them, nor they for anybody else's.
"""

from __future__ import annotations

from django.db.models import OuterRef, Q

from accounts.alerts import alert
from accounts.models import Account, ApiKey, User, Wallet
from catalog.models import Dialect
from catalog.order_types import ServiceType
from orders.models import Order


class WrongAccount(Exception):
    """Customer, wallet and key are not one account's: a mistake in our code, not in the world."""


class WrongProvider(Exception):
    """Play money at a real provider, or real money at the play one: our mistake too."""


def is_for_play(customer: User, *, wallet: Wallet, api_key: ApiKey | None) -> bool:
    """Whether an order of this customer's, from this wallet and by this key, is one for play.

    Raises WrongAccount unless all three belong together.
    """
    if wallet.user_id != customer.pk:
        raise WrongAccount(f"wallet {wallet.pk} is not user {customer.pk}'s")
    if api_key is None:
        if customer.is_twin:
            raise WrongAccount(f"user {customer.pk} is a twin, and there is no key")
    elif api_key.customer.pk != customer.pk or api_key.sandbox != customer.is_twin:
        raise WrongAccount(f"key {api_key.pk} does not act for user {customer.pk}")
    return customer.is_twin


def account_of(order: Order) -> Account:
    """The ledger's account that the order is charged to, and paid back from."""
    if order.sandbox:
        return Account.PLAY
    return Account.RESERVED if order.type == ServiceType.SUBSCRIPTIONS else Account.SALES


def at_fitting_provider() -> Q:
    """Orders that stand at a provider of their kind: no others are ever sent or settled."""
    is_play = Q(provider__dialect=Dialect.PLAY)
    return Q(is_play, sandbox=True) | Q(~is_play, sandbox=False)


def refuse_wrong_provider(order: Order) -> None:
    """Raises WrongProvider before anything can be bought where it must not."""
    if order.sandbox != order.provider.is_play:
        raise WrongProvider(f"order {order.pk} at provider {order.provider_id}")


def among_its_own() -> Q:
    """In a subquery over orders: those that the outer order can be in the way of."""
    return Q(sandbox=False) & Q(sandbox=OuterRef("sandbox")) | Q(
        sandbox=OuterRef("sandbox"), customer=OuterRef("customer")
    )


def in_the_way_of(customer: User) -> Q:
    """The orders that one of this customer's may have to wait for."""
    return Q(customer=customer) if customer.is_twin else Q(sandbox=False)


def tell_staff(order: Order, code: str, message: str, *, subject: str = "") -> None:
    """Alert staff about the order (or `subject`, something of it), unless it is for play."""
    if not order.sandbox:
        alert(code, subject=subject or order.subject, message=message)
