"""How the learning rate goes."""

import math


def learning_rate_share(step: int, total: int, warmup: float) -> float:
    """Share of the peak learning rate at a step: a straight rise, then a cosine towards 0.

    Args:
        step: 0 for the first.
        total: steps of the whole run.
        warmup: share of the steps that rise.
    """
    rising = max(1, round(total * warmup)) if warmup else 0
    if step < rising:
        return (step + 1) / (rising + 1)
    done = (step - rising) / max(1, total - rising)
    return 0.5 * (1 + math.cos(math.pi * done))
