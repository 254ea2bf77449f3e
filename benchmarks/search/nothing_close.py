"""Does a search know that nothing is close? Errors for things that the pictures show, and do not.

    python -m benchmarks.search.nothing_close 'base a=FOLDER' 'base b=FILE' --data FOLDER

The pictures are Flickr8k's test split. A caption of one of them names each present thing, and no
caption of all of Flickr8k names an absent one: has every content word of the query, as for the
marks of the search page. Things alternate between two halves. On the first, the height of the
cut-off is chosen: that in use stays unless the mean of both errors and all models is lower
elsewhere by more than its standard error. The errors of the second half are reported.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import RESULTS, facts_of, keep, parse_with_data
from paraclip.arrays import Float
from paraclip.evaluation.metrics import SPREADS, cutoff_above
from paraclip.files import cache_folder
from paraclip.image_search.serving.captions import Wanted
from paraclip.models.features import encode_images, encode_texts
from paraclip.models.loading import load_model
from paraclip.starter import unrelated_texts
from paraclip.tables import markdown

PRESENT = """
a dog running in the snow, a surfer on a wave, a skateboarder, a child on a swing, a basketball
player, a soccer game, a snowboarder in midair, a man climbing a rock, a girl in a swimming pool,
a trampoline, a fountain, a frisbee, a guitar, a baby, a bride, a horse rider, a tennis player, a
crowd at night, a fishing pole, a hockey player, a waterfall, a canoe, a wheelie, a greyhound, a
kayak, a police officer, a campfire, a sunset at the beach, a red car, a brown cow, a bench in a
park, a man with a beard, people in a restaurant, bubbles, a subway train, a camera, an umbrella,
a puppy, a cat, a sheep, a bird flying, a monkey, a snake, a deer, a fish, a bear, a cake, coffee,
a wedding dress, a karate kick, boxing, a rugby match, a baseball bat, a golf club, bowling, a
slide at a playground, a tent, a hiker with a backpack, a ladder, a bridge, a tunnel, a parade, a
flag, a drum, a microphone, a newspaper, a book, a mask, a pirate, a cowboy hat, a wheelchair, a
stroller, a scooter, a raft, a jet, an airplane, a parachute, a bus, a truck, a tractor, a fence,
graffiti, a statue, a mirror, a chair, a couch, a bed, sled riding, skis, a swimsuit, pajamas, a
tattoo, sunglasses, a cigarette, a leash, a pumpkin, flowers, a hurdle, a bucket, a bicycle race
"""
ABSENT = """
a submarine, a volcano, an octopus, a lighthouse keeper, an astronaut, a space shuttle, a
microscope, a stethoscope, a dentist, a surgeon, an operating theatre, an x-ray, a spreadsheet, a
circuit board, a solar panel, a wind turbine, an oil rig, a coal mine, an iceberg, a tornado, an
avalanche, the northern lights, a galaxy, a solar eclipse, a koala, a hippopotamus, a rhinoceros,
a chameleon, a jellyfish, a scorpion, a tarantula, a beehive, a hedgehog, a platypus, a peacock, a
vulture, a woodpecker, a flamingo, a walrus, a sloth, a yak, a bonsai, a cactus, a pineapple, a
pomegranate, an avocado, an artichoke, a croissant, a lasagna, a cheeseboard, a typewriter, a
printing press, a photocopier, a cash machine, a dishwasher, a washing machine, a toaster, a
microwave, a vacuum cleaner, an ironing board, a candelabra, a sarcophagus, a pagoda, a castle
moat, a drawbridge, a guillotine, a zeppelin, a hovercraft, an icebreaker, a combine harvester, a
forklift, a satellite dish, an anchor, a compass, an hourglass, a sundial, a barometer, an abacus,
a chessboard, a roulette wheel, a slot machine, a xylophone, a tuba, a courtroom, a prison cell, a
parliament, a laboratory, a vineyard, a sawmill, a blacksmith, a lecture hall, a periscope, a
chimpanzee, a stapler, a calculator, a fax machine, a nuclear power station, a treadmill, a
thermometer, a test tube
"""
HEIGHTS = [-0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0]
"""Heights of the cut-off over the median that are tried, as `SPREADS`."""


def things(listed: str) -> list[str]:
    """The queries of a list."""
    return [" ".join(query.split()) for query in listed.split(",")]


def read_pictures(data: Path) -> list[str]:
    """Paths of the pictures; exits if captions contradict a list."""
    folder = data / "flickr8k"
    names = (folder / "test_images.txt").read_text(encoding="utf-8").split()
    with (folder / "captions.csv").open(newline="", encoding="utf-8") as file:
        rows = [(row["image"], row["caption"]) for row in csv.DictReader(file)]
    searched = set(names)
    every, own = [text for _, text in rows], [text for name, text in rows if name in searched]
    wrong = [query for query in things(PRESENT) if not any(map(Wanted([query]).fits, own))]
    wrong += [query for query in things(ABSENT) if any(map(Wanted([query]).fits, every))]
    if wrong:
        raise SystemExit(f"captions contradict the lists: {', '.join(wrong)}")
    return [str(folder / "images" / name) for name in names]


def best_similarities(model: str, pictures: list[str]) -> dict[str, Float]:
    """The similarity of the first result of present, absent and unrelated texts."""
    opened = load_model(model, "cpu")
    vectors = encode_images(opened, pictures, cache_folder() / "image_features").numpy()
    texts = {"present": things(PRESENT), "absent": things(ABSENT), "unrelated": unrelated_texts()}
    return {
        name: (encode_texts(opened, listed).numpy() @ vectors.T).max(axis=1)
        for name, listed in texts.items()
    }


def errors(best: dict[str, Float], height: float, half: int) -> tuple[float, float]:
    """Shares of present things without a close result, and of absent ones with one."""
    cutoff = cutoff_above(best["unrelated"], height)
    missed, shown = best["present"][half::2] <= cutoff, best["absent"][half::2] > cutoff
    return float(missed.mean()), float(shown.mean())


def measure(models: dict[str, str], pictures: list[str]) -> dict[str, Any]:
    """Mean errors of the first half by height, and both errors of the second by model."""
    best = {name: best_similarities(model, pictures) for name, model in models.items()}
    means = {
        height: float(np.mean([errors(one, height, 0) for one in best.values()]))
        for height in HEIGHTS
    }
    rows = []
    for name, one in best.items():
        missed, shown = errors(one, SPREADS, 1)
        above = one["present"][:, None] > one["absent"]
        rows.append({"model": name, "missed": missed, "shown": shown, "auc": float(above.mean())})
    things_of_half = (len(things(PRESENT)) + len(things(ABSENT))) / 2
    mean = means[SPREADS]
    return {
        "rows": rows, "heights": [[height, value] for height, value in means.items()],
        "standard_error": (mean * (1 - mean) / things_of_half) ** 0.5, "pictures": len(pictures),
    }  # fmt: skip


def as_tables(record: dict[str, Any]) -> dict[str, str]:
    """Both errors of each model, and the choice of the height."""
    rates = ("missed", "shown")
    rows = [
        [row["model"], *(f"{100 * row[rate]:.0f} %" for rate in rates), f"{row['auc']:.2f}"]
        for row in record["rows"]
    ]
    heads = ["model", "present, nothing close", "absent, something close", "AUC"]
    heights = [[f"{height:g}", f"{100 * mean:.1f}"] for height, mean in record["heights"]]
    tried = markdown(["height", "mean error, percent"], heights)
    spread = f"Standard error: {100 * record['standard_error']:.1f}."
    below = f"{record['pictures']:,} pictures, 50 things of each kind. {record['machine_facts']}"
    return {
        record["name"]: f"{markdown(heads, rows)}\n\n{below}",
        f"{record['name']}_height": f"{tried}\n\nThe other 50 things of each kind. {spread}",
    }


def main() -> None:
    """Measure the models of the command line."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("models", nargs="+", metavar="NAME=MODEL")
    options.add_argument("--out", type=Path, default=RESULTS)
    chosen = parse_with_data(options)
    models = dict(one.split("=", 1) for one in chosen.models)
    found = measure(models, read_pictures(Path(chosen.data)))
    keep("nothing_close", chosen.out, as_tables, **found, machine_facts=facts_of())


if __name__ == "__main__":
    main()
