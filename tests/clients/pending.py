"""What the server cannot do yet. Its tests are written and must fail; who lands a capability deletes its line."""

PENDING: frozenset[str] = frozenset()
