"""The configuration of one run: its schema, the rules between its values, and how it is read from YAML.

    parse(values)              a plain mapping, validated
    parse_job(values)          the same for what may be an evaluation, too
    load(path, overrides)      a YAML file with `a.b=c` overrides and `${NAME}` variables
    dump(config)               every value written out as YAML

Imports no torch, so that the command line and the pages start fast.
"""

from trainer.config.data import Columns, Data, HubData, JsonlData, NamedData, ParquetData, Prompted, ReasoningGymData
from trainer.config.evaluating import EvaluationConfig
from trainer.config.method import (
    Algorithm,
    CrossEntropy,
    Dapo,
    Detach,
    Grpo,
    Gspo,
    Occ,
    Off,
    Oracle,
    Policy,
    Regime,
    Warm,
)
from trainer.config.reading import dump, load, load_job, parse, parse_job, read_yaml, resolve
from trainer.config.schema import (
    Alarms,
    Audit,
    Benchmark,
    Checkpoint,
    EvaluatedModel,
    Evaluation,
    Launch,
    Logging,
    Model,
    Mtp,
    Optimizer,
    Reward,
    Rollout,
    RunConfig,
    Update,
)
from trainer.config.section import Section

__all__ = [
    "Alarms",
    "Algorithm",
    "Audit",
    "Benchmark",
    "Checkpoint",
    "Columns",
    "CrossEntropy",
    "Dapo",
    "Data",
    "Detach",
    "EvaluatedModel",
    "Evaluation",
    "EvaluationConfig",
    "Grpo",
    "Gspo",
    "HubData",
    "JsonlData",
    "Launch",
    "Logging",
    "Model",
    "Mtp",
    "NamedData",
    "Occ",
    "Off",
    "Optimizer",
    "Oracle",
    "ParquetData",
    "Policy",
    "Prompted",
    "ReasoningGymData",
    "Regime",
    "Reward",
    "Rollout",
    "RunConfig",
    "Section",
    "Update",
    "Warm",
    "dump",
    "load",
    "load_job",
    "parse",
    "parse_job",
    "read_yaml",
    "resolve",
]
