"""`paraclip evaluate` with the benchmarks that only the study uses.

    python -m study.evaluate base=mini tuned=runs/tuned --benchmarks cxc,cifar10 --data my_data

Names and hashes of data are those of earlier versions, so that stored reports can be compared.
"""

import sys
from collections.abc import Sequence
from functools import partial

from paraclip.cli import main as paraclip
from paraclip.evaluation import benchmarks
from paraclip.evaluation.benchmarks import Entry
from study.benchmarks import cifar, coco_order, cxc

FURTHER = {
    "cxc": Entry(cxc.load),
    "aro-coco-order": Entry(coco_order.load),
    "cifar10": Entry(partial(cifar.load_cifar, cifar.CIFAR10)),
    "cifar100": Entry(partial(cifar.load_cifar, cifar.CIFAR100)),
}


def add_benchmarks() -> None:
    """Give `--benchmarks`, and its suite `all`, these names as well."""
    benchmarks.BENCHMARKS.update(FURTHER)


def main(arguments: Sequence[str]) -> int:
    """Run `paraclip evaluate` with these arguments; returns its exit code."""
    add_benchmarks()
    return paraclip(["evaluate", *arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
