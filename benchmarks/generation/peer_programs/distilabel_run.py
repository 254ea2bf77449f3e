"""distilabel's pipeline of two text generations, each a batch of requests at once."""

import os

os.environ["DISTILABEL_LOG_LEVEL"] = "WARNING"

from captions import SYSTEM_1, SYSTEM_2, options, rows
from datasets import Dataset
from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps.tasks import TextGeneration


def step(name: str, system: str, source: str, target: str, url: str, concurrency: int):
    """A text generation from one column to another."""
    return TextGeneration(
        name=name, system_prompt=system, columns=[source], template="{{ " + source + " }}",
        llm=OpenAILLM(
            model="fake", base_url=url, api_key="none", generation_kwargs={"max_new_tokens": 64}
        ),
        input_batch_size=concurrency, output_mappings={"generation": target},
        add_raw_output=False, add_raw_input=False,
    )  # fmt: skip


if __name__ == "__main__":
    url, path, out, concurrency = options()
    with Pipeline(name="paraphrase", cache_dir=str(out / "cache")) as pipeline:
        first = step("first", SYSTEM_1, "caption", "paraphrase_1", url, concurrency)
        second = step("second", SYSTEM_2, "paraphrase_1", "paraphrase_2", url, concurrency)
        first >> second
    made = pipeline.run(dataset=Dataset.from_list(list(rows(path))), use_cache=False)
    made.save_to_disk(str(out / "made"))
