"""The database notes every change to what the lists of services show, on both databases.

A row of CatalogueChange is written in the transaction of the change, whoever makes it: a page, a
sync in bulk, staff, somebody with a database client. catalog/versions.py reads them.

PostgreSQL writes one row a statement, or a sync would write thousands. SQLite knows triggers for
each row only; it has one writer at a time, so that the newest row alone says enough there, and
takes the place of the one before. Of providers only real changes of these columns count:
catalog/health.py writes to those rows all day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accounts.triggers import in_force

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

# Whatever an answer to `services` is made of: a test changes every column of these tables, and
# looks which ones show. A migration that changes this list removes and installs the triggers, and
# so does one for which SQLite makes a table anew: with the old one its triggers go (`audit_ledger`
# tells).
SHOWN = {
    "catalog_service": (
        "id",
        "provider_id",
        "provider_name",
        "provider_description",
        "provider_rate",
        "min_quantity",
        "max_quantity",
        "refill",
        "cancel",
        "dripfeed",
        "vanished_at",
        "type",
        "name",
        "description",
        "category_id",
        "position",
        "markup_percent",
        "allow_below_cost",
        "disabled_by_staff",
        "average_time",
        "refill_by",
        "dripfeed_by",
    ),
    "catalog_category": (
        "id",
        "source_name",
        "name",
        "network",
        "position",
        "markup_percent",
        "enabled",
    ),
    "catalog_provider": ("id", "currency", "markup_percent", "enabled"),
    "catalog_manualprice": ("service_id", "currency", "rate"),
    "catalog_servicefacts": (
        "service_id",
        "completion_median",
        "completion_p90",
        "completion_rate",
    ),
    "accounts_exchangerate": ("id", "base", "quote", "rate"),
}
# Rows that show nothing before a service refers to them, and cannot go while one does.
_ONLY_UPDATES = frozenset({"catalog_provider"})


def _differs(columns: tuple[str, ...], operator: str) -> str:
    return " OR ".join(f"OLD.{column} {operator} NEW.{column}" for column in columns)


def _postgresql(table: str, columns: tuple[str, ...]) -> str:
    if table in _ONLY_UPDATES:
        return (
            f"AFTER UPDATE ON {table} FOR EACH ROW "
            f"WHEN ({_differs(columns, 'IS DISTINCT FROM')}) EXECUTE FUNCTION catalogue_changed()"
        )
    return (
        f"AFTER INSERT OR UPDATE OF {', '.join(columns)} OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION catalogue_changed()"
    )


def _sqlite(table: str, columns: tuple[str, ...]) -> dict[str, str]:
    note = (
        "BEGIN DELETE FROM catalog_cataloguechange; "
        "INSERT INTO catalog_cataloguechange (id) VALUES (NULL); END"
    )
    update = f"AFTER UPDATE ON {table} WHEN {_differs(columns, 'IS NOT')} {note}"
    if table in _ONLY_UPDATES:
        return {"update": update}
    return {
        "insert": f"AFTER INSERT ON {table} {note}",
        "update": update,
        "delete": f"AFTER DELETE ON {table} {note}",
    }


# Trigger → its definition.
POSTGRESQL = {f"{table}_shown": _postgresql(table, columns) for table, columns in SHOWN.items()}
SQLITE = {
    f"{table}_shown_{event}": definition
    for table, columns in SHOWN.items()
    for event, definition in _sqlite(table, columns).items()
}

_FUNCTION = """
CREATE OR REPLACE FUNCTION catalogue_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO catalog_cataloguechange DEFAULT VALUES;
    RETURN NULL;
END $$
"""


def install(schema_editor: Any) -> None:
    """Create the triggers."""
    triggers = SQLITE
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(_FUNCTION, params=None)
        triggers = POSTGRESQL
    for name, definition in triggers.items():
        schema_editor.execute(f"CREATE TRIGGER {name} {definition}", params=None)


def remove(schema_editor: Any) -> None:
    """Drop the triggers (a migration backwards)."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION catalogue_changed() CASCADE", params=None)
    else:
        for name in SQLITE:
            schema_editor.execute(f"DROP TRIGGER {name}", params=None)


def missing(connection: BaseDatabaseWrapper) -> list[str]:
    """The triggers that this database lacks or that were switched off, by name."""
    expected = POSTGRESQL if connection.vendor == "postgresql" else SQLITE
    return sorted(expected.keys() - in_force(connection))
