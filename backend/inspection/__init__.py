"""What a model's folder or a set of problems holds, from headers and JSON alone: no torch, nothing fetched."""
