"""False negatives: rows of a batch that say the same or show the same, without a dense B x B mask.

Rows that share a picture or a text form groups. A sparse membership matrix of those groups is
all that is kept; the pairs of a block of rows are made when the block is computed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from paraclip.training.tokens import Integers


@dataclass(frozen=True)
class FalseNegatives:
    """Which rows share a key.

    Args:
        rows: sparse int8 [B, groups]; above 0 where the row is in the group.
        columns: the same for what the rows are compared with: [B, groups], and behind them the
            M hard negatives of the batch, [B + M, groups].
    """

    rows: sparse.csr_array
    columns: sparse.csr_array

    def among(self, chosen: Tensor, extra: int = 0) -> "FalseNegatives":
        """The same for some of the rows [N]; the last `extra` columns stay behind them."""
        places = chosen.cpu().numpy()
        behind = np.arange(self.columns.shape[0] - extra, self.columns.shape[0])
        return FalseNegatives(self.rows[places], self.columns[np.concatenate([places, behind])])

    def pairs(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """False negatives of the rows from `start` to `stop`: int64 row - start, and column."""
        found = (self.rows[start:stop] @ self.columns.T).tocoo()
        row, column = found.row.astype(np.int64), found.col.astype(np.int64)
        others = row + start != column  # the diagonal is the positives
        return torch.from_numpy(row[others]), torch.from_numpy(column[others])

    def dense(self) -> Tensor:
        """Bool [B, columns], for small batches only."""
        mask = torch.zeros(self.rows.shape[0], self.columns.shape[0], dtype=torch.bool)
        mask[self.pairs(0, len(mask))] = True
        return mask


def false_negatives(keys: Integers, negatives: Integers | None = None) -> FalseNegatives | None:
    """Which rows share any key: the same picture, or the same text on either side.

    Args:
        keys: int64 [kinds, B]; image keys and text keys must not overlap.
        negatives: int64 [M], the keys of the batch's hard negatives.

    Returns:
        None where no two rows share anything.
    """
    kinds, count = keys.shape
    behind = np.zeros(0, dtype=np.int64) if negatives is None else negatives
    every = np.concatenate([keys.ravel(), behind])
    place = np.concatenate([np.tile(np.arange(count), kinds), count + np.arange(len(behind))])
    entries = np.unique(np.stack([every, place]), axis=1)  # a row may have a key twice
    _, group, counts = np.unique(entries[0], return_inverse=True, return_counts=True)
    shared = (counts > 1)[group]
    if not shared.any():
        return None
    ones = np.ones(int(shared.sum()), dtype=np.int8)
    shape = (count + len(behind), len(counts))
    columns = sparse.csr_array((ones, (entries[1][shared], group[shared])), shape=shape)
    return FalseNegatives(columns[:count], columns)
