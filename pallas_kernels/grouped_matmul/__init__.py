"""Products of rows that are sorted by group, each group with a matrix of its own: the experts of a mixture."""

from pallas_kernels.grouped_matmul.api import grouped_matmul
from pallas_kernels.grouped_matmul.tiles import by_tiles, tile_rows

__all__ = ["by_tiles", "grouped_matmul", "tile_rows"]
