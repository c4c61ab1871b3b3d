"""The sandbox provider: a real HTTP server that sells like an upstream panel does.

It serves demonstrations and the test suite. It knows nothing of the store's tables: its state is
a SQLite file of its own. `manage.py sandbox_provider` runs it as a process of its own;
`catalog.sandbox.server.Sandbox` runs it inside a test.
"""
