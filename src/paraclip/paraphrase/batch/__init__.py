"""Questions in batches: OpenAI's batch API, and files for a runner such as `vllm run-batch`.

In reading order: `requests` (files of questions), `results` (files of answers), `backend` (looks
answers up and writes questions), `journal` (what was submitted), `server` (OpenAI's API), `rounds`.
"""
