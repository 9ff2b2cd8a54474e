"""The recipes that travel with prunec; ``prunec run NAME`` finds them here."""

if __name__ != "prunec.recipes":
    raise ImportError("import this package as prunec.recipes")
