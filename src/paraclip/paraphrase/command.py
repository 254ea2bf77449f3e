"""`paraclip generate` and `paraclip negatives`: call the functions of this room and print."""

from collections import Counter
from pathlib import Path

import pyarrow as pa

from paraclip.data.problems import Problems
from paraclip.data.triples import SCHEMA, TEXTS, read_provenance, read_triples, write_triples
from paraclip.errors import printable
from paraclip.files import refuse_overwriting
from paraclip.language.tagger import SpacyTagger
from paraclip.paraphrase.config import GenerateConfig, NegativesConfig
from paraclip.paraphrase.negatives import KINDS, hard_negatives
from paraclip.paraphrase.outputs import Summary
from paraclip.paraphrase.run import generate_from_source

WRITTEN = frozenset((*SCHEMA.names, "negative", "negative_kind"))
"""Columns that `negatives` writes; all others are copied."""


def generate_command(config: GenerateConfig) -> Summary:
    """Generate triples and print the counts.

    Raises:
        UserError: `generate_from_source` raised it, or no caption got an answer.
    """
    generation = generate_from_source(config)
    summary, problems = generation.summary, generation.problems
    print(summary.table())
    print(printable(f"{summary.kept:,} triples in {generation.triples}"))
    if problems.count:
        print(problems.summary())
    if summary.failed:
        print(f"{summary.failed:,} captions got no answer: the same command asks them again.")
    generation.check()
    return summary


def negatives_command(config: NegativesConfig) -> None:
    """Write the triples with a hard negative each, and print the kinds of negatives.

    Raises:
        UserError: the triples cannot be read, spaCy is missing, the output is the input or
            cannot be written.
    """
    refuse_overwriting(config.out, [config.triples])
    problems = Problems(config.max_broken)
    triples = read_triples(config.triples, problems, further=True)
    rows = triples.select(TEXTS).to_pylist()
    tagger = SpacyTagger()
    negatives = hard_negatives(rows, tagger, config.text, config.seed)
    columns = {
        "negative": [None if one is None else one.text for one in negatives],
        "negative_kind": [None if one is None else one.kind for one in negatives],
    }
    extra = triples.drop_columns([name for name in triples.column_names if name in WRITTEN])
    for name, texts in columns.items():
        extra = extra.append_column(name, pa.array(texts, pa.string()))
    facts = {"text": config.text, "seed": config.seed, "tagger": tagger.name}
    origin = {**read_provenance(config.triples), "negatives": facts}
    write_triples(Path(config.out), triples, origin, extra)
    kinds = Counter(one.kind for one in negatives if one is not None)
    for kind in KINDS:
        print(f"{kinds[kind]:>9,}  {kind}")
    print(f"{negatives.count(None):>9,}  none: the text has nothing to change")
    print(f"{len(rows):,} triples in {config.out}")
    if problems.count:
        problems.write(f"{config.out}.problems.txt")
        print(f"{problems.summary()}\nAll of them: {config.out}.problems.txt")
