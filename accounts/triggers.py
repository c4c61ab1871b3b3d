"""What the database itself refuses of the ledger, on both databases.

Postings are inserted first and refer to their entry by its readable key (foreign keys are checked
at commit); the entry's own row comes last and seals them:

- an entry whose postings do not sum to zero per currency, or that has none, is refused: by SQLite
  when the sealing row is inserted, by PostgreSQL in a deferred trigger at commit;
- a posting for an entry that is sealed already is refused;
- a posting in another currency than its wallet's is refused;
- nothing of either table is ever updated or deleted.
"""

from __future__ import annotations

from typing import Any

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
CREATE TRIGGER ledger_posting_allowed BEFORE INSERT ON accounts_posting
    FOR EACH ROW EXECUTE FUNCTION ledger_posting_allowed();
CREATE CONSTRAINT TRIGGER ledger_posting_balanced AFTER INSERT ON accounts_posting
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_entry_balanced();
CREATE CONSTRAINT TRIGGER ledger_entry_balanced AFTER INSERT ON accounts_journalentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_entry_balanced();
"""

POSTGRESQL_REMOVE = """
DROP TRIGGER ledger_entry_append_only ON accounts_journalentry;
DROP TRIGGER ledger_posting_append_only ON accounts_posting;
DROP TRIGGER ledger_posting_allowed ON accounts_posting;
DROP TRIGGER ledger_posting_balanced ON accounts_posting;
DROP TRIGGER ledger_entry_balanced ON accounts_journalentry;
DROP FUNCTION ledger_append_only, ledger_posting_allowed, ledger_entry_balanced;
"""

SQLITE = {
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


def install(schema_editor: Any) -> None:
    """Create the triggers."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL_INSTALL, params=None)
    else:
        for name, body in SQLITE.items():
            schema_editor.execute(f"CREATE TRIGGER {name} {body}", params=None)


def remove(schema_editor: Any) -> None:
    """Drop the triggers (a migration backwards; a test database that is being emptied)."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL_REMOVE, params=None)
    else:
        for name in SQLITE:
            schema_editor.execute(f"DROP TRIGGER {name}", params=None)
