"""Time by the database's clock: several machines' own clocks may differ, leases must not."""

from __future__ import annotations

from accounts.clock import from_now

__all__ = ["from_now"]
