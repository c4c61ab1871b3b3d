"""App configuration."""

from django.apps import AppConfig


class StorefrontConfig(AppConfig):
    name = "storefront"

    def ready(self) -> None:
        from storefront import checks  # noqa: F401 (importing registers them)
