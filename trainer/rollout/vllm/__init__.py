"""vLLM as the sampler of a run, in the same process and on the same device as training. docs/engines.md says what is synced and checked."""
