"""The staff's side of the catalogue, one file a model."""

from catalog.admin import categories, providers, services, sync_records

__all__ = ["categories", "providers", "services", "sync_records"]
