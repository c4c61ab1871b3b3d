"""Which version of the catalogue is in force: what was made of another one is out of date."""

from __future__ import annotations

from datetime import UTC

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Max

from catalog.models import CatalogueChange

# More rows than these make asking dearer than tidying up.
ENOUGH = 500


def current() -> str:
    """The version of everything that lists of services show: another one after each committed
    change (one cheap query). Ask before reading the catalogue, not after.

    The number of changes and the newest: one that took its id early and commits late leaves the
    newest as it is, and adds to the number. The time tells a database that was restored from the
    one before.
    """
    seen = CatalogueChange.objects.aggregate(count=Count("pk"), newest=Max("pk"), at=Max("at"))
    at = seen["at"].astimezone(UTC).isoformat() if seen["at"] else ""
    return f"{seen['count']}.{seen['newest'] or 0}.{at}.{settings.DEFAULT_MARKUP_PERCENT}"


@transaction.atomic
def prune() -> int:
    """Forget old changes where there are many; returns how many. No change is ever hidden.

    The row that is written first has the highest id of all, so that no version from before comes
    back, whatever commits late.
    """
    if CatalogueChange.objects.count() <= ENOUGH:
        return 0
    mark = CatalogueChange.objects.create()
    forgotten, _ = CatalogueChange.objects.filter(pk__lt=mark.pk).delete()
    return forgotten
