"""The Ray Data pipeline over the captions: read, cut into blocks, ask, write, commit."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from paraclip.errors import UserError
from paraclip.paraphrase.config import GenerateConfig
from paraclip.paraphrase.distributed.asker import Asker, Task
from paraclip.paraphrase.distributed.outcomes import KEY
from paraclip.paraphrase.distributed.places import CAPTIONS, CHECKPOINT, ERROR, OUTCOMES, Place

CALLS_OF_ASKER = 2  # blocks at a time, so that the end of one does not leave the server idle


def ask(ray: Any, config: GenerateConfig, place: Place, task: Task) -> None:
    """Run Ray Data over the captions that are not in the checkpoint.

    Raises:
        UserError: an asker raised it.
    """
    place.delete(ERROR)
    with checkpointing(ray, place):
        try:
            (
                ray.data.read_parquet(place.address_of(CAPTIONS))
                # Otherwise a file is one block, and nothing is committed before its end.
                .repartition(target_num_rows_per_block=config.block_rows)
                .map_batches(
                    Asker, fn_constructor_kwargs={"task": task}, batch_size=None,
                    batch_format="pyarrow", num_cpus=1,
                    compute=ray.data.ActorPoolStrategy(
                        size=config.workers, max_concurrent_calls_per_actor=CALLS_OF_ASKER,
                        max_tasks_in_flight_per_actor=CALLS_OF_ASKER + 1,
                    ),
                )
                .write_parquet(place.address_of(OUTCOMES))
            )  # fmt: skip
        except ray.exceptions.RayError as error:
            raise user_error(place) or error from error


@contextmanager
def checkpointing(ray: Any, place: Place) -> Iterator[None]:
    """Let Ray Data commit each written block and skip those that an earlier run committed.

    As of Ray 2.60, `CheckpointConfig` is an attribute of the `DataContext`, not an argument of a
    read; the ids must be unique and survive all operators; a block is committed in two phases
    (a pending file before the data, renamed after it); and files of other blocks are deleted when
    the checkpoint is loaded. Its filter is an actor pool of up to 10; one actor is enough and holds
    one CPU. The checkpoint is kept after success, because a later run may have more captions.
    """
    from ray.data.checkpoint import CheckpointConfig

    context = ray.data.DataContext.get_current()
    before = context.checkpoint_config, context.enable_progress_bars
    checkpoint = CheckpointConfig(
        id_column=KEY, checkpoint_path=place.address_of(CHECKPOINT),
        delete_checkpoint_on_success=False,
    )  # fmt: skip
    checkpoint.checkpoint_actor_pool_max_size = 1
    context.checkpoint_config = checkpoint
    context.enable_progress_bars = False  # `watch` shows the committed captions
    try:
        yield
    finally:
        context.checkpoint_config, context.enable_progress_bars = before


def user_error(place: Place) -> UserError | None:
    """The UserError that an asker wrote, if any."""
    facts = place.read_json(ERROR)
    return UserError(**facts) if facts else None
