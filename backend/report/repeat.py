"""The commands that make the same runs and evaluations again."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from backend.overrides import overrides
from backend.runs import with_absolute_paths
from backend.settings import variables
from db.reads import RunDetail
from trainer.config import EvaluationConfig, RunConfig, parse, parse_job, resolve, yaml_text
from trainer.config.schema import Sampler
from trainer.errors import ConfigError, MtprlError
from trainer.presets import presets

_ASIDE = ("name", "seed")
_END = "END-OF-CONFIGURATION"
_LONGEST_EXPERIMENT = 120


def experiment_again(experiment: str) -> str:
    """The experiment that repeated runs and evaluations go to, so that they are not pooled with the first ones."""
    return f"{experiment[: _LONGEST_EXPERIMENT - len('-again')]}-again"


def training_commands(runs: Sequence[RunDetail], experiment: str) -> Iterator[str]:
    """A command for all runs that differ in their seed alone; those whose configuration this version refuses are left out."""
    name = experiment_again(experiment)
    for number, group in enumerate(_alike(runs), start=1):
        seeds = ",".join(map(str, sorted({run.seed for run in group})))
        options = shlex.join(["--seeds", seeds, "--experiment", name])
        about = f"# {', '.join(f'run {run.id}' for run in group)}\n"
        yield about + _submit(group, f"method-{number}.yaml", options)


def refused(runs: Sequence[RunDetail]) -> list[int]:
    """Runs of an older version, whose settings do not mean the same any more."""
    return [run.id for run in runs if _parsed(run) is None]


def repeated_by(runs: Sequence[RunDetail]) -> dict[int, RunDetail]:
    """By run, the one whose repetition repeats it, too: the newest with the same configuration, names aside. Refused ones are left out."""
    newest: dict[str, RunDetail] = {}
    keys: dict[int, str] = {}
    for run in sorted(runs, key=lambda run: run.id):
        config = _parsed(run)
        if config is not None:
            keys[run.id] = repr(config.model_copy(update={"name": ""}).model_dump(mode="json"))
            newest[keys[run.id]] = run
    return {run_id: newest[key] for run_id, key in keys.items()}


def new_run(run_id: int) -> str:
    """What stands in a command for the number of the run that repeats this one: nothing that could be taken for another run."""
    return f"NEW-RUN-OF-{run_id}"


def is_queued_by_training(job: RunDetail, of: RunDetail) -> bool:
    """Whether the training asks for this very evaluation in its own configuration (evaluation.afterwards)."""
    config = _parsed(of)
    afterwards = config.evaluation.afterwards if config else None
    if config is None or afterwards is None or job.evaluates_step != of.total_steps:
        return False
    asked = {
        "suite": ",".join(part.strip() for part in afterwards.suite.split(",")),
        "samples": afterwards.samples,
        "temperature": config.evaluation.temperature,
        "top_p": config.evaluation.top_p,
        "top_k": config.evaluation.top_k,
        "stop": list(config.evaluation.stop),
        "rollout": _sampler(config.rollout),
        "max_response_tokens": afterwards.max_response_tokens or job.config.get("max_response_tokens"),
    }
    try:
        own = parse_job(job.config).model_dump(mode="json")  # with what an older version did not say
    except ConfigError:
        return False
    return all(own.get(name) == value for name, value in asked.items())


def evaluation_command(job: RunDetail, of: RunDetail | None, target: str = "") -> str | None:
    """The command that evaluates the same again. None where this version refuses its settings.

    Args:
        of: the training that it is about; None: a model that no run of the report made.
        target: the run to evaluate; left out, the same run or model.
    """
    try:
        config = parse_job(job.config)
    except ConfigError:
        return None
    if not isinstance(config, EvaluationConfig):
        return None
    options = {
        "--suite": config.suite or ",".join(one.name for one in config.benchmarks),
        "--samples": config.samples,
        **({"--step": job.evaluates_step} if of is not None else {}),
        "--temperature": f"{config.temperature:g}",
        "--top-p": f"{config.top_p:g}",
        "--top-k": config.top_k,
        "--engine": config.rollout.engine,
        "--max-tokens": config.max_response_tokens,
        "--experiment": experiment_again(job.experiment),
    }
    target = target or (config.model.path if of is None else str(of.id))
    parts = ["mtprl", "evaluate", target, *(str(part) for option in options.items() for part in option)]
    chats = {one.data.chat for one in config.benchmarks}
    if len(chats) == 1 and (of is None or chats != {_chat(of)}):
        parts.append("--chat" if chats == {True} else "--plain")
    own = config.model_dump(mode="json", include={"name", "seed", "sequences", "launch", "stop", "rollout"})
    usual = EvaluationConfig(model=config.model, benchmarks=config.benchmarks).model_dump(mode="json", include=set(own))
    usual["rollout"]["engine"] = config.rollout.engine
    trained = _parsed(of) if of is not None else None
    if trained is not None:  # of which the command takes over how it is sampled
        usual["stop"] = list(trained.evaluation.stop)
        if trained.rollout.engine == config.rollout.engine:
            usual["rollout"] = _sampler(trained.rollout)
    for override in overrides({}, usual, own):
        parts += ["--set", override]
    return shlex.join(parts)


def _sampler(sampler: Sampler) -> dict[str, Any]:
    return sampler.model_dump(mode="json", include=set(Sampler.model_fields))


def _alike(runs: Sequence[RunDetail]) -> list[list[RunDetail]]:
    """Runs that one command can make: alike but for their seeds, and for names that say no more than the seed."""
    groups: dict[str, dict[int, RunDetail]] = defaultdict(dict)
    once = {run.id: run for run in repeated_by(runs).values()}
    for run in sorted(once.values(), key=lambda run: run.id):
        config = _parsed(run)
        if config is not None:
            own = {key: value for key, value in config.model_dump(mode="json").items() if key not in _ASIDE}
            # A name that is not made of the seed belongs to one run.
            shared = _shared_name(config) if not config.name or config.name != _shared_name(config) else run.id
            groups[repr((own, run.preset, shared))][run.seed] = run
    return [list(group.values()) for group in groups.values()]


def _shared_name(config: RunConfig) -> str:
    """The name to which `--seeds` adds the seeds of several runs."""
    return config.name.removesuffix(f"-seed{config.seed}")


def _submit(group: Sequence[RunDetail], file: str, options: str) -> str:
    run, config = group[0], parse(group[0].config)
    name = config.name if len(group) == 1 else _shared_name(config)
    wanted = {**config.model_dump(mode="json"), "seed": 0, "name": name}
    begun = _preset(run.preset)
    if begun is not None:
        start, before = begun
        changes = [part for override in overrides(start, before, wanted) for part in ("--set", override)]
        return f"mtprl submit {shlex.join([str(run.preset), *changes])} {options}"
    text = yaml_text.write(wanted)
    return f"cat > {file} <<'{_END}'\n{text}{_END}\nmtprl submit {file} {options}"


def _preset(name: str | None) -> tuple[Mapping[str, Any], dict[str, Any]] | None:
    """The values of a preset, and what they stand for here; None where there is no such preset."""
    found = presets().get(name or "")
    if found is None:
        return None
    try:
        config = with_absolute_paths(parse(resolve(found.values, variables=variables())))
    except MtprlError:
        return None
    return found.values, {**config.model_dump(mode="json"), "seed": 0, "name": ""}


def _parsed(run: RunDetail) -> RunConfig | None:
    try:
        return parse(run.config)
    except ConfigError:
        return None


def _chat(run: RunDetail) -> bool:
    return bool(run.config.get("data", {}).get("chat", False))
