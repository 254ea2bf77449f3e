"""datatrove's inference runner with its endpoint server; both steps in one rollout."""

from captions import SYSTEM_1, SYSTEM_2, options, rows
from datatrove.data import Document
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.writers import JsonlWriter

url, path, out, concurrency = options()


async def paraphrased(document, generate):
    """Two requests after each other."""
    text, answers = document.text, {}
    for step, system in enumerate((SYSTEM_1, SYSTEM_2), start=1):
        messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
        text = answers[f"paraphrase_{step}"] = (await generate({"messages": messages})).text
    return answers


runner = InferenceRunner(
    rollout_fn=paraphrased,
    config=InferenceConfig(
        server_type="endpoint", model_name_or_path="fake", endpoint_url=url.removesuffix("/v1"),
        api_key="none", max_concurrent_generations=concurrency,
        default_generation_params={"max_tokens": 64},
    ),
    output_writer=JsonlWriter(str(out), "${rank}_${chunk_index}.jsonl", compression=None),
    checkpoints_local_dir=str(out / "checkpoints"),
    records_per_chunk=1000,
)  # fmt: skip
runner.run((Document(text=row["caption"], id=row["id"]) for row in rows(path)), 0, 1)
