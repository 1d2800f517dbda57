"""The configuration of one run: its schema, the rules between its values, and how it is read from YAML.

    parse(values)              a plain mapping, validated
    load(path, overrides)      a YAML file with `a.b=c` overrides and `${NAME}` variables
    dump(config)               every value written out as YAML

Imports no torch, so that the command line and the pages start fast.
"""

from trainer.config.reading import dump, load, parse, read_yaml, resolve
from trainer.config.schema import (
    Alarms,
    Algorithm,
    Audit,
    Benchmark,
    Checkpoint,
    CrossEntropy,
    Dapo,
    Data,
    Detach,
    Evaluation,
    Grpo,
    Gspo,
    JsonlData,
    Logging,
    Model,
    Mtp,
    Occ,
    Off,
    Optimizer,
    Oracle,
    Policy,
    ReasoningGymData,
    Regime,
    Reward,
    Rollout,
    RunConfig,
    Section,
    Update,
)

__all__ = [
    "Alarms",
    "Algorithm",
    "Audit",
    "Benchmark",
    "Checkpoint",
    "CrossEntropy",
    "Dapo",
    "Data",
    "Detach",
    "Evaluation",
    "Grpo",
    "Gspo",
    "JsonlData",
    "Logging",
    "Model",
    "Mtp",
    "Occ",
    "Off",
    "Optimizer",
    "Oracle",
    "Policy",
    "ReasoningGymData",
    "Regime",
    "Reward",
    "Rollout",
    "RunConfig",
    "Section",
    "Update",
    "dump",
    "load",
    "parse",
    "read_yaml",
    "resolve",
]
