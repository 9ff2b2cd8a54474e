"""Numbers that contradict themselves or one another are found and said."""

from prunec.driver.doubts.contradiction import Contradiction
from prunec.driver.doubts.find import doubt_measured, doubt_report

__all__ = ["Contradiction", "doubt_measured", "doubt_report"]
