"""`paraclip negatives`: reads triples, makes one text of each false, writes them with it."""

from collections import Counter
from pathlib import Path

import pyarrow as pa

from paraclip.data.problems import Problems
from paraclip.data.triples import SCHEMA, TEXTS, read_provenance, read_triples, write_triples
from paraclip.files import refuse_overwriting
from paraclip.language.tagger import SpacyTagger
from paraclip.paraphrase.config import NegativesConfig
from paraclip.paraphrase.negatives import KINDS, hard_negatives

OWN = frozenset((*SCHEMA.names, "negative", "negative_kind"))
"""Columns that are written here; all others are passed through."""


def negatives_command(config: NegativesConfig) -> None:
    """Write the triples with a hard negative each, and say of which kinds they are.

    Raises:
        UserError: the triples cannot be read, spaCy is missing, the output is the input or
            may not be written.
    """
    refuse_overwriting(config.out, [config.triples])
    problems = Problems(config.max_broken)
    triples = read_triples(config.triples, problems, further=True)
    rows = triples.select(TEXTS).to_pylist()
    tagger = SpacyTagger()
    found = hard_negatives(rows, tagger, config.text, config.seed)
    columns = {
        "negative": [None if one is None else one.text for one in found],
        "negative_kind": [None if one is None else one.kind for one in found],
    }
    extra = triples.drop_columns([name for name in triples.column_names if name in OWN])
    for name, texts in columns.items():
        extra = extra.append_column(name, pa.array(texts, pa.string()))
    facts = {"text": config.text, "seed": config.seed, "tagger": tagger.name}
    origin = {**read_provenance(config.triples), "negatives": facts}
    write_triples(Path(config.out), triples, origin, extra)
    kinds = Counter(one.kind for one in found if one is not None)
    for kind in KINDS:
        print(f"{kinds[kind]:>9,}  {kind}")
    print(f"{found.count(None):>9,}  none: nothing in the text that could be made false")
    print(f"{len(rows):,} triples in {config.out}")
    if problems.count:
        problems.write(f"{config.out}.problems.txt")
        print(f"{problems.summary()}\nAll of them: {config.out}.problems.txt")
