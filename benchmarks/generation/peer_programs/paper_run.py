"""The way of the paper's official script: one request at a time, everything written at the end."""

import json

from captions import SYSTEM_1, SYSTEM_2, options, rows
from openai import OpenAI

url, path, out, _ = options()
client, triples = OpenAI(base_url=url, api_key="none"), []


def asked(system: str, text: str) -> str:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    answer = client.chat.completions.create(model="fake", messages=messages, max_tokens=64)
    return answer.choices[0].message.content


for row in rows(path):
    first = asked(SYSTEM_1, row["caption"])
    triples.append({**row, "paraphrase_1": first, "paraphrase_2": asked(SYSTEM_2, first)})
(out / "triples.json").write_text(json.dumps(triples))
