"""Which client speaks which dialect: one line each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from catalog.models import Dialect, Provider
from catalog.providers import ProviderClient
from catalog.providers.panel import PanelClient
from catalog.providers.play import PlayClient
from catalog.providers.rest import RestClient

CLIENTS: Mapping[str, Callable[..., ProviderClient]] = {
    Dialect.PANEL: PanelClient,
    Dialect.REST: RestClient,
    Dialect.PLAY: PlayClient,
}


def client_for(provider: Provider) -> ProviderClient:
    """The client of this provider, with its address, key and time-outs.

    Raises accounts.encryption.SecretUnreadable where the row was read with a lost key.
    """
    return CLIENTS[provider.dialect](
        url=provider.base_url,
        key=provider.api_key,
        connect_timeout=provider.connect_timeout,
        read_timeout=provider.read_timeout,
    )
