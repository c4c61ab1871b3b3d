"""The fault matrix: real processes broken on purpose under load, then every invariant checked.

`make faults` (`python -m tests.faults.matrix`) runs all rows and prints the table; names of rows as
arguments run only those. `make test` runs some of them, small (tests/faults/test_matrix.py).
"""
