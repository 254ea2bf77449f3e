"""Questions in files of OpenAI's batch format, for a batch API or `vllm run-batch`."""
