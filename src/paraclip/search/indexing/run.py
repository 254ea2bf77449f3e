"""All steps of `paraclip index`: facts, lock, changes, compaction, recall."""

from paraclip.data.problems import Problems
from paraclip.errors import UserError
from paraclip.models.bert import SentenceModel
from paraclip.models.encoder import DualEncoder
from paraclip.models.image_space import image_space
from paraclip.models.loading import load_model
from paraclip.models.names import absolute_name
from paraclip.provenance import without_secrets
from paraclip.search.config import IndexConfig
from paraclip.search.indexing.build import Builder, Summary, recall_at_10
from paraclip.search.indexing.sources import Source, open_source
from paraclip.search.records import IndexFacts, check_image_space
from paraclip.search.stores.store import Store, open_store

BASE, TUNED = "base", "tuned"


def build_index(config: IndexConfig, problems: Problems) -> Summary:
    """Update the index of a source; prints nothing.

    Args:
        config: options.
        problems: lists broken pictures.

    With `rebuild`, the index is built next to the existing one, which it replaces at the end; a
    stopped run with the same options resumes.

    Raises:
        UserError: the source or the store cannot be used, the index belongs to another image tower
            or source, another run is writing, no picture can be used, or the disk is full. Written
            rows are kept.
    """
    source = open_source(config.source, config.columns)
    model = load_model(config.model, config.device)
    new = new_facts(config, source, model)
    store = open_store(config.store)
    with store.writing():
        target = store.staged() if config.rebuild else store
        try:
            known = target.facts()
            if known is not None:
                check_facts(known, new, config)
        except UserError:
            if not config.rebuild:
                raise
            store.discard_staged()
            known = None
        facts = new if known is None else known.with_models(new.models)
        summary = builder(config, model, target, problems).run(source, facts)
        if config.rebuild:
            target.close()
            store.publish()
        store.finish(config.exact_below)
        if summary.total >= config.exact_below:
            summary.recall = recall_at_10(store)
    problems.check(summary.total + problems.count)
    return summary


def builder(config: IndexConfig, model: DualEncoder, store: Store, problems: Problems) -> Builder:
    """The builder for the selected engine."""
    if config.engine == "threads":
        return Builder(model, store, problems, config.precision)
    from paraclip.search.indexing.ray_build import RayBuilder

    return RayBuilder(model, store, problems, config.precision, config=config)


def new_facts(config: IndexConfig, source: Source, model: DualEncoder) -> IndexFacts:
    """Facts of a new index; raises UserError if a model reads no pictures or does not fit."""
    if isinstance(model, SentenceModel):
        what = "has only a text encoder and reads no pictures"
        raise UserError(config.model, what, "Name another --model.")
    space = image_space(model)
    models = {BASE: absolute_name(config.model), **tuned_model(config, space)}
    width = model.architecture.embed_dim
    return IndexFacts(space, width, source.name, source.root, models, config.precision)


def check_facts(known: IndexFacts, new: IndexFacts, config: IndexConfig) -> None:
    """Raise UserError if an index has another image tower, source or precision than a run."""
    where = without_secrets(config.store)
    check_image_space(known, new.image_space, config.model, where)
    if (known.source, known.root) != (new.source, new.root):
        what = f"is the index of {known.source}"
        raise UserError(where, what, "Name another --store, or replace it with --rebuild.")
    if known.precision != new.precision:
        what = f"was made with --precision {known.precision}"
        raise UserError(where, what, "Add that option, or replace the index with --rebuild.")


def tuned_model(config: IndexConfig, space: str) -> dict[str, str]:
    """The tuned model by label, checked; empty without one.

    Raises:
        UserError: it has another image tower.
    """
    if config.tuned is None:
        return {}
    if image_space(load_model(config.tuned, "cpu")) != space:
        what = f"has another image tower than {config.model}"
        raise UserError(config.tuned, what, "Give the model that it was tuned from as --model.")
    return {TUNED: absolute_name(config.tuned)}
