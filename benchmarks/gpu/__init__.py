"""What can only be seen on a GPU, in parts of some minutes each: `benchmarks/gpu_check.sh`."""
