"""Money and numbers for pages; the rule itself stands where staff's lists can reach it too."""

from accounts.formatting import money, number

__all__ = ["money", "number"]
