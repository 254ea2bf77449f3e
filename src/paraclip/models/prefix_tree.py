"""Vectors of many texts, of which many begin alike: captions, or class names in templates.

In a text tower that reads left to right, what stands at a token hangs on the tokens before it and
on nothing else. So texts are laid out as a tree, each shared beginning once, with a mask that lets
a token see its own beginning only; the vectors are the same to rounding. ImageNet's 80,000 prompts
have 9.6 tokens each and 4.2 in the tree, the sentences of STS 14.2 and 10.7. No token is padding,
and a tree of `MOST` tokens stays in a processor's cache, which alone makes a third. Memory: one
tree of at most `MOST` tokens at a time, its mask `MOST` x `MOST`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from open_clip.transformer import TextTransformer
from torch import Tensor, nn
from torch.nn.functional import normalize

from paraclip.models.encoder import DualEncoder
from paraclip.models.features import encode_texts, half_precision
from paraclip.models.openclip import OpenClip, reads_to_the_end_token
from paraclip.progress import track

MOST = 512  # tokens of a tree; in larger ones the mask costs more than the sharing saves

Row = tuple[int, ...]
"""Token ids of a text up to the token at which its vector is read."""


@dataclass(frozen=True)
class Tree:
    """Texts with their shared beginnings once.

    Args:
        ids: token of each node [nodes].
        depths: its place in its text [nodes].
        mask: 0 where a node (row) may see another (column), else minus infinity [nodes, nodes].
        ends: the node at which each text ends [texts].
    """

    ids: Tensor
    depths: Tensor
    mask: Tensor
    ends: Tensor


@torch.no_grad()
def encode_by_prefix_tree(
    model: DualEncoder,
    texts: Sequence[str],
    batch_size: int = 256,
    label: str | None = None,
    precision: str = "fp32",
) -> Tensor:
    """Unit vectors as `encode_texts` gives them, faster where texts begin alike.

    Args:
        model: towers that do not read left to right are asked text by text.
        texts: any number, any length.
        batch_size: texts tokenised at once (and encoded, where nothing can be shared).
        label: of a progress bar, or None for no bar.
        precision: fp32 or bf16.
    """
    if not texts or not isinstance(model, OpenClip) or not shares(model.text_tower):
        return encode_texts(model, texts, batch_size, label, precision)
    model.eval()
    rows = token_rows(model, texts, batch_size)
    parts: Iterable[list[Row]] = list(packs(sorted(set(rows))))
    if label is not None:
        parts = track(parts, label, len(list(parts)), "tree")
    found: dict[Row, Tensor] = {}
    for part in parts:
        with half_precision(model, precision):
            vectors = encode_tree(model.text_tower, make_tree(part))
        found |= dict(zip(part, vectors.float().cpu(), strict=True))
    return torch.stack([found[row] for row in rows])


def shares(text: nn.Module) -> bool:
    """Whether a tower's vectors may be made of trees: it reads left to right and masks nothing."""
    return reads_to_the_end_token(text) and not getattr(text, "use_pad_mask", False)


def token_rows(model: OpenClip, texts: Sequence[str], batch_size: int) -> list[Row]:
    """Token ids of each text, cut behind the token at which its vector is read."""
    text: TextTransformer = model.text_tower
    rows: list[Row] = []
    for start in range(0, len(texts), batch_size):
        ids = model.tokenize(texts[start : start + batch_size]).ids
        # As open_clip pools: at the largest id, or at the first end token.
        marks = ids if text.pool_type == "argmax" else ids.eq(text.eos_id).int()
        ends = marks.argmax(dim=1).tolist()
        rows += [tuple(row[: end + 1]) for row, end in zip(ids.tolist(), ends, strict=True)]
    return rows


def packs(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Sorted texts in groups whose tree has at most `MOST` nodes (a longer text stands alone)."""
    pack: list[Row] = []
    nodes = 0
    for row in rows:
        more = len(row) - (common(pack[-1], row) if pack else 0)
        if pack and nodes + more > MOST:
            yield pack
            pack, nodes, more = [], 0, len(row)
        pack.append(row)
        nodes += more
    if pack:
        yield pack


def common(first: Row, second: Row) -> int:
    """How many tokens both begin with."""
    length = min(len(first), len(second))
    return next((place for place in range(length) if first[place] != second[place]), length)


def make_tree(rows: Sequence[Row]) -> Tree:
    """The tree of sorted texts."""
    ids: list[int] = []
    lines: list[list[int]] = []  # for each node itself and those before it in its text
    ends: list[int] = []
    line: list[int] = []
    before: Row = ()
    for row in rows:
        line = line[: common(before, row)]
        for token in row[len(line) :]:
            line = [*line, len(ids)]
            ids.append(token)
            lines.append(line)
        ends.append(line[-1])
        before = row
    depths = torch.tensor([len(line) - 1 for line in lines])
    mask = torch.full((len(ids), len(ids)), -torch.inf)
    seers = torch.arange(len(ids)).repeat_interleave(depths + 1)
    mask[seers, torch.tensor([node for line in lines for node in line])] = 0
    return Tree(torch.tensor(ids), depths, mask, torch.tensor(ends))


def encode_tree(text: TextTransformer, tree: Tree) -> Tensor:
    """Unit vectors [texts, embed_dim]: what open_clip's tower does, with the tree's mask."""
    device = text.positional_embedding.device
    kind = text.transformer.get_cast_dtype()
    states = text.token_embedding(tree.ids.to(device)) + text.positional_embedding[tree.depths]
    states = text.transformer(states.to(kind)[None], attn_mask=tree.mask.to(device, kind))
    pooled = text.ln_final(states[0, tree.ends])  # [texts, width]
    projection = text.text_projection
    if projection is not None:
        pooled = projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection
    return normalize(pooled.float(), dim=-1)
