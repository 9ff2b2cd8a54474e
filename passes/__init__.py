"""Program to program: analyse, decide, cut, repair, clean."""

if __name__ != "prunec.passes":
    # Under a bare name every class would exist twice and no `isinstance` would hold.
    raise ImportError("import this package as prunec.passes")
