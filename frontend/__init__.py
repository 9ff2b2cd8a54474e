"""Models in: open a checkpoint, trace it, find text to calibrate on."""

if __name__ != "prunec.frontend":
    # Under a bare name every class would exist twice and no `isinstance` would hold.
    raise ImportError("import this package as prunec.frontend")
