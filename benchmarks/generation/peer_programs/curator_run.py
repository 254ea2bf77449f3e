"""bespokelabs-curator: one pass over the data for each step."""

import importlib.util
import os
from pathlib import Path

os.environ |= {"TELEMETRY_ENABLED": "false", "CURATOR_DISABLE_RICH_DISPLAY": "1",
               "LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1",
               "OPENAI_API_KEY": "none"}  # fmt: skip
# Its tokenizer's table would be downloaded; litellm, which it requires, ships the same file.
found = importlib.util.find_spec("litellm")
tables = Path(found.origin).parent / "litellm_core_utils" / "tokenizers"
os.environ["TIKTOKEN_CACHE_DIR"] = str(tables)

from bespokelabs import curator  # noqa: E402
from captions import SYSTEM_1, SYSTEM_2, options, rows  # noqa: E402
from datasets import Dataset  # noqa: E402

url, path, out, concurrency = options()
os.environ["CURATOR_CACHE_DIR"] = str(out / "cache")


class Paraphraser(curator.LLM):
    """One step, from one column to another."""

    def __init__(self, system: str, source: str, target: str):
        super().__init__(
            model_name="fake", backend="openai", system_prompt=system,
            generation_params={"max_tokens": 64},
            backend_params={
                "base_url": url, "max_concurrent_requests": concurrency,
                "max_requests_per_minute": 10_000_000, "max_tokens_per_minute": 10_000_000_000,
            },
        )  # fmt: skip
        self.source, self.target = source, target

    def prompt(self, row):
        return row[self.source]

    def parse(self, row, response):
        return {**row, self.target: response}


data = Dataset.from_list(list(rows(path)))
for step in ((SYSTEM_1, "caption", "paraphrase_1"), (SYSTEM_2, "paraphrase_1", "paraphrase_2")):
    made = Paraphraser(*step)(data, working_dir=str(out / "cache"))
    data = getattr(made, "dataset", made)
data.to_json(str(out / "triples.jsonl"))
