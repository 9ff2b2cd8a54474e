"""Programs out: run them, lower them, build engines, measure what was built."""

if __name__ != "prunec.backends":
    # Under a bare name every class would exist twice and no `isinstance` would hold.
    raise ImportError("import this package as prunec.backends")
