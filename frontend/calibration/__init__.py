"""Find text to calibrate and to measure on, as windows of tokens."""

from prunec.frontend.calibration.select import calibration_tokens
from prunec.frontend.calibration.spec import CalibrationError, CalibrationSet, CalibrationSpec
from prunec.frontend.calibration.written import Author

__all__ = [
    "Author",
    "CalibrationError",
    "CalibrationSet",
    "CalibrationSpec",
    "calibration_tokens",
]
