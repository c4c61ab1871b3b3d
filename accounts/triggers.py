"""What the database itself refuses of the ledger, on both databases.

Postings are inserted first and refer to their entry by its readable key (foreign keys are checked
at commit); the entry's own row comes last and seals them:

- an entry whose postings do not sum to zero per currency, or that has none, is refused: by SQLite
  when the sealing row is inserted, by PostgreSQL in a deferred trigger at commit;
- a posting for an entry that is sealed already is refused;
- a posting in another currency than its wallet's is refused;
- an entry that moves both play money (a sandbox twin's wallet, the account `play`) and real money
  is refused;
- nothing of either table is ever updated, deleted or replaced (PostgreSQL: nor truncated).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

POSTGRESQL_INSTALL = """
CREATE OR REPLACE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE OR REPLACE FUNCTION ledger_posting_allowed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM accounts_journalentry WHERE key = NEW.entry_id) THEN
        RAISE EXCEPTION 'entry % is sealed', NEW.entry_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.wallet_id IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM accounts_wallet WHERE id = NEW.wallet_id AND currency = NEW.currency
    ) THEN
        RAISE EXCEPTION 'entry %: currency is not the wallet''s', NEW.entry_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION ledger_entry_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    checked text := CASE TG_TABLE_NAME WHEN 'accounts_posting'
        THEN to_jsonb(NEW) ->> 'entry_id' ELSE to_jsonb(NEW) ->> 'key' END;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM accounts_posting WHERE entry_id = checked) OR EXISTS (
        SELECT 1 FROM accounts_posting WHERE entry_id = checked
        GROUP BY currency HAVING SUM(amount) <> 0
    ) THEN
        RAISE EXCEPTION 'entry % does not balance', checked
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER ledger_entry_append_only BEFORE UPDATE OR DELETE ON accounts_journalentry
    FOR EACH ROW EXECUTE FUNCTION ledger_append_only();
CREATE TRIGGER ledger_posting_append_only BEFORE UPDATE OR DELETE ON accounts_posting
    FOR EACH ROW EXECUTE FUNCTION ledger_append_only();
-- Entries cannot be truncated without their postings.
CREATE TRIGGER ledger_posting_no_truncate BEFORE TRUNCATE ON accounts_posting
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only();
CREATE TRIGGER ledger_posting_allowed BEFORE INSERT ON accounts_posting
    FOR EACH ROW EXECUTE FUNCTION ledger_posting_allowed();
CREATE CONSTRAINT TRIGGER ledger_posting_balanced AFTER INSERT ON accounts_posting
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_entry_balanced();
CREATE CONSTRAINT TRIGGER ledger_entry_balanced AFTER INSERT ON accounts_journalentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_entry_balanced();
"""

# The legs of an entry are all play money, or all real.
_MIXED = """EXISTS (
    SELECT posting.entry_id FROM accounts_posting posting
    LEFT JOIN accounts_wallet wallet ON wallet.id = posting.wallet_id
    LEFT JOIN accounts_user owner ON owner.id = wallet.user_id
    WHERE posting.entry_id = NEW.key GROUP BY posting.entry_id
    HAVING SUM(CASE WHEN posting.account = 'play' OR owner.sandbox_of_id IS NOT NULL
        THEN 1 ELSE 0 END) NOT IN (0, COUNT(*))
)"""

POSTGRESQL_INSTALL_PLAY = f"""
CREATE OR REPLACE FUNCTION ledger_play_apart() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {_MIXED} THEN
        RAISE EXCEPTION 'entry % moves play money and real money', NEW.key
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER ledger_play_apart BEFORE INSERT ON accounts_journalentry
    FOR EACH ROW EXECUTE FUNCTION ledger_play_apart();
"""

POSTGRESQL = {
    "ledger_entry_append_only": "accounts_journalentry",
    "ledger_entry_balanced": "accounts_journalentry",
    "ledger_posting_append_only": "accounts_posting",
    "ledger_posting_no_truncate": "accounts_posting",
    "ledger_posting_allowed": "accounts_posting",
    "ledger_posting_balanced": "accounts_posting",
}
POSTGRESQL_PLAY = {"ledger_play_apart": "accounts_journalentry"}
_FUNCTIONS = "ledger_append_only, ledger_posting_allowed, ledger_entry_balanced"

SQLITE = {
    # INSERT OR REPLACE deletes the row in its way without asking the triggers on DELETE.
    "ledger_entry_no_replace": """BEFORE INSERT ON accounts_journalentry
        WHEN EXISTS (SELECT 1 FROM accounts_journalentry WHERE key = NEW.key) BEGIN
        SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    "ledger_posting_no_replace": """BEFORE INSERT ON accounts_posting
        WHEN EXISTS (SELECT 1 FROM accounts_posting WHERE id = NEW.id) BEGIN
        SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    "ledger_entry_no_update": """BEFORE UPDATE ON accounts_journalentry BEGIN
        SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    "ledger_entry_no_delete": """BEFORE DELETE ON accounts_journalentry BEGIN
        SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    "ledger_posting_no_update": """BEFORE UPDATE ON accounts_posting BEGIN
        SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    "ledger_posting_no_delete": """BEFORE DELETE ON accounts_posting BEGIN
        SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
    "ledger_posting_sealed": """BEFORE INSERT ON accounts_posting
        WHEN EXISTS (SELECT 1 FROM accounts_journalentry WHERE key = NEW.entry_id) BEGIN
        SELECT RAISE(ABORT, 'the entry is sealed'); END""",
    "ledger_posting_currency": """BEFORE INSERT ON accounts_posting
        WHEN NEW.wallet_id IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM accounts_wallet WHERE id = NEW.wallet_id AND currency = NEW.currency
        ) BEGIN SELECT RAISE(ABORT, 'the currency is not the wallet''s'); END""",
    "ledger_entry_balanced": """BEFORE INSERT ON accounts_journalentry
        WHEN NOT EXISTS (SELECT 1 FROM accounts_posting WHERE entry_id = NEW.key) OR EXISTS (
            SELECT 1 FROM accounts_posting WHERE entry_id = NEW.key
            GROUP BY currency HAVING SUM(amount) <> 0
        ) BEGIN SELECT RAISE(ABORT, 'the entry does not balance'); END""",
}
SQLITE_PLAY = {
    "ledger_play_apart": f"""BEFORE INSERT ON accounts_journalentry WHEN {_MIXED} BEGIN
        SELECT RAISE(ABORT, 'the entry moves play money and real money'); END""",
}


def install(schema_editor: Any) -> None:
    """Create all triggers."""
    install_ledger(schema_editor)
    install_play(schema_editor)


def remove(schema_editor: Any) -> None:
    """Drop all triggers (a test database that is being emptied)."""
    remove_play(schema_editor)
    remove_ledger(schema_editor)


def install_ledger(schema_editor: Any) -> None:
    """Create those that the ledger began with."""
    _install(schema_editor, POSTGRESQL_INSTALL, SQLITE)


def remove_ledger(schema_editor: Any) -> None:
    """Drop them again."""
    _remove(schema_editor, POSTGRESQL, _FUNCTIONS, SQLITE)


def install_play(schema_editor: Any) -> None:
    """Create the one that keeps play money apart; sandbox twins came later."""
    _install(schema_editor, POSTGRESQL_INSTALL_PLAY, SQLITE_PLAY)


def remove_play(schema_editor: Any) -> None:
    """Drop it again."""
    _remove(schema_editor, POSTGRESQL_PLAY, "ledger_play_apart", SQLITE_PLAY)


def _install(schema_editor: Any, postgresql: str, sqlite: Mapping[str, str]) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(postgresql, params=None)
        return
    for name, body in sqlite.items():
        schema_editor.execute(f"CREATE TRIGGER {name} {body}", params=None)


def _remove(
    schema_editor: Any, postgresql: Mapping[str, str], functions: str, sqlite: Mapping[str, str]
) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for name, table in postgresql.items():
            schema_editor.execute(f"DROP TRIGGER {name} ON {table}", params=None)
        schema_editor.execute(f"DROP FUNCTION {functions}", params=None)
        return
    for name in sqlite:
        schema_editor.execute(f"DROP TRIGGER {name}", params=None)


def missing(connection: BaseDatabaseWrapper) -> list[str]:
    """The triggers that this database lacks or that were switched off, by name."""
    if connection.vendor == "postgresql":
        expected = POSTGRESQL.keys() | POSTGRESQL_PLAY.keys()
    else:
        expected = SQLITE.keys() | SQLITE_PLAY.keys()
    return sorted(expected - in_force(connection))


def in_force(connection: BaseDatabaseWrapper) -> set[str]:
    """The names of all triggers that this database has and heeds."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A')")
        else:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        return {name for (name,) in cursor.fetchall()}
