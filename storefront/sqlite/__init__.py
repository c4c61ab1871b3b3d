"""SQLite with an orderly queue of writers (base.py): a database engine of its own in settings."""
