"""The ``prunec`` command: the only place that sees frontend, passes and backends together."""

if __name__ != "prunec.driver":
    # Under a bare name every class would exist twice and no `isinstance` would hold.
    raise ImportError("import this package as prunec.driver")
