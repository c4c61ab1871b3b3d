"""Telling customers by mail what they would otherwise miss."""

from __future__ import annotations

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext as _

from accounts.models import DisabledBecause, WebhookEndpoint


def tell_disabled(endpoint_id: int) -> None:
    """Write to the customer, in their language, that the endpoint was switched off; nothing where
    it is on again, or taken away. Raises what the mail server raises."""
    endpoint = (
        WebhookEndpoint.objects.select_related("user__sandbox_of")
        .filter(
            pk=endpoint_id, disabled_because__in=(DisabledBecause.GONE, DisabledBecause.FAILING)
        )
        .first()
    )
    if endpoint is None:
        return
    reader = endpoint.user.sandbox_of or endpoint.user
    gone = endpoint.disabled_because == DisabledBecause.GONE
    with translation.override(reader.language or settings.LANGUAGE_CODE):
        send_mail(
            f"{settings.STORE_NAME}: {_('Your webhook endpoint has been switched off')}",
            render_to_string("email/webhook_disabled.txt", {"url": endpoint.url, "gone": gone}),
            None,
            [reader.email],
        )
