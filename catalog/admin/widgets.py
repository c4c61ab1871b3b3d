"""How numbers are shown and asked for."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from unfold.widgets import UnfoldAdminDecimalFieldWidget

from accounts.money import ScaledDecimalField

# The admin's theme knows Django's own number fields only.
DECIMAL_WIDGET: dict[Any, Any] = {ScaledDecimalField: {"widget": UnfoldAdminDecimalFieldWidget}}


def plain(number: Decimal) -> str:
    """The number as it is, without trailing zeros or an exponent."""
    return f"{number.normalize():f}"
