"""Draw one coupled structure: the weights that carry it and the operators between them."""

from prunec.driver.picture.boxes import PictureError
from prunec.driver.picture.draw import draw_structure

__all__ = ["PictureError", "draw_structure"]
