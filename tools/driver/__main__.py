"""``python -m prunec.driver``: the ``prunec`` command without an installation."""

from prunec.driver.main import main

main()
