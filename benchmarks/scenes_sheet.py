"""The README's picture of search: drawn scenes, the same query worded two ways, base against tuned.

    python benchmarks/scenes_sheet.py

Takes the base and the tuned model of seed 0 that `benchmarks/flickr8k.py` has made. The scenes and
their wordings ship with ParaCLIP (benchmark `scenes`): the picture shows nobody else's photographs.
"""

import argparse
from pathlib import Path

from paraclip.evaluation.benchmarks.scenes import load_scenes
from paraclip.evaluation.reporting.contact_sheet import contact_sheet
from paraclip.evaluation.reporting.examples import examples_of
from paraclip.evaluation.scoring.vectors import Arithmetic
from paraclip.files import cache_folder
from paraclip.models.loading import load_model

RUNS = Path("runs/flickr8k")


def main() -> None:
    """Rank, choose by the sheet's rule, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", default=str(RUNS / "base" / "last.safetensors"))
    parser.add_argument("--tuned", default=str(RUNS / "tuned-0" / "last.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("docs/images/scenes.png"))
    options = parser.parse_args()
    benchmark = load_scenes(Path(), Arithmetic())
    models = {"base": load_model(options.base), "tuned": load_model(options.tuned)}
    cache = cache_folder() / "image_features"
    scores = {label: benchmark.score(model, cache) for label, model in models.items()}
    found = examples_of(benchmark, scores, "scenes")
    assert found is not None
    rankings = found.rankings["base"], found.rankings["tuned"]
    contact_sheet(found.texts, *rankings, found.references, options.out)
    print(f"Written: {options.out}")


if __name__ == "__main__":
    main()
