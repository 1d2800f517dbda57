"""What reading the training data says of a run before it is queued: prompts that are too long, and problems that it evaluates on.

Both read files again only when one has changed.
"""

from __future__ import annotations

from functools import lru_cache

from backend import words
from backend.contamination import Report, benchmarks_of, compare
from backend.inspection.data import DataCount, Source, source_of
from backend.planning import lengths
from backend.planning.check import Check
from backend.planning.lengths import Lengths
from trainer.config import Benchmark, ReasoningGymData, RunConfig
from trainer.errors import DataError, MtprlError
from trainer.models.readable import stated_positions
from trainer.rollout.vllm.installed import length_problem

_PROMPTS, _CONTAMINATION = "Prompts", "Contamination"
_ASK = "`mtprl contamination` with the configuration, or Check contamination on the page New run,"


def too_long(config: RunConfig) -> Check | None:
    """How many prompts are longer than rollout.max_prompt_tokens; None where another line says why there is nothing to count."""
    training = source_of(config.data)
    if isinstance(training, DataCount) or not training.files:
        return None
    tokenizer = lengths.tokenizer_of(config.model.path)
    if tokenizer is None:
        message = f"not measured now: {config.model.path} has no tokenizer.json on this machine"
        return Check(_PROMPTS, "note", message)
    try:
        found = lengths.measure(training, tokenizer)
    except DataError as error:
        return Check(_PROMPTS, "bad", str(error))
    if found is None:
        return Check(_PROMPTS, "note", f"not measured: {tokenizer.folder} has no tokenizer.json that can be read")
    return _lengths(found, config)


def _lengths(found: Lengths, config: RunConfig) -> Check:
    limit, longest = config.rollout.max_prompt_tokens, max(found.tokens)
    long = sum(tokens > limit for tokens in found.tokens)
    of = (
        f"{found.prompts:,} prompts"
        if found.complete
        else f"{len(found.tokens):,} of {found.prompts:,} prompts looked at"
    )
    if not long:
        said = f"{of}, none longer than {limit:,} tokens; the longest has {longest:,}"
        return _positions(max(found.tokens), config, said) or Check(_PROMPTS, "good", said)
    if found.shortest > limit:
        shortest = f"the shortest has {found.shortest:,}; raise rollout.max_prompt_tokens"
        return Check(_PROMPTS, "bad", f"{of}, all longer than {limit:,} tokens; {shortest}")
    said = f"{of}, {long:,} longer than {limit:,} tokens (rollout.max_prompt_tokens) and left out; the longest has {longest:,}"
    kept, needed = len(found.tokens) - long, config.rollout.prompts_per_step
    if found.complete and kept < needed:
        return Check(_PROMPTS, "bad", f"{said}; {kept:,} stay, but a step needs {needed:,} (rollout.prompts_per_step)")
    asked = max((tokens for tokens in found.tokens if tokens <= limit), default=found.shortest)
    return _positions(asked, config, said) or Check(_PROMPTS, "note", said)


def _positions(prompt: int, config: RunConfig, said: str) -> Check | None:
    """What is said where a prompt of so many tokens and the longest response are more than the model was made for; None where they are not."""
    response, positions = config.rollout.max_response_tokens, stated_positions(config.model.path)
    if positions is None or prompt + response <= positions:
        return None
    if config.rollout.engine == "vllm":
        return Check(_PROMPTS, "bad", f"{said}; {length_problem(config, prompt, positions)}")
    beyond = f"with {prompt:,} of a prompt, {response:,} of a response (rollout.max_response_tokens) go beyond the model's {positions:,} positions"
    return Check(_PROMPTS, "note", f"{said}; {beyond}, where what it says means little")


def contamination(config: RunConfig, most_bytes: int) -> Check | None:
    """How many problems to evaluate on are in the training data; None where another line says why that cannot be read.

    Args:
        config: the run.
        most_bytes: training data of more is not compared now.
    """
    training = source_of(config.data)
    if isinstance(training, DataCount):
        return None if training.error else Check(_CONTAMINATION, "note", f"not checked yet; {_ASK} reads the data")
    generated = isinstance(config.data, ReasoningGymData)
    if not training.files and not generated:
        return None
    try:
        benchmarks = benchmarks_of(config)
        here = [(one, source) for one in benchmarks if isinstance(source := source_of(one.data), Source)]
        if not benchmarks:
            return Check(
                _CONTAMINATION,
                "note",
                "not checked: the run evaluates on nothing, and none of the six benchmarks is here",
            )
        if not here:
            return Check(_CONTAMINATION, "note", "not checked yet: no benchmark of the run can be read here and now")
        if generated or training.size > most_bytes:
            why = "problems are generated" if generated else f"{words.size(training.size)} of problems take a while"
            return Check(_CONTAMINATION, "note", f"not checked yet, because {why}; {_ASK} does")
        found = _compared(training, tuple((one.name, one.limit, source) for one, source in here))
    except MtprlError as error:
        return Check(_CONTAMINATION, "note", f"not checked: {error}")
    return _report(found, [one.name for one in benchmarks if one not in [known for known, _ in here]])


def _report(found: Report, left_out: list[str]) -> Check:
    rest = f"; not compared, because not at hand: {', '.join(left_out)}" if left_out else ""
    problems = sum(len(overlap.matches) for overlap in found.overlaps)
    total = sum(overlap.problems for overlap in found.overlaps)
    if problems:
        said = f"{problems:,} of {words.plural(total, 'problem')} to evaluate on are in the training data: {found.by_benchmark}"
        return Check(_CONTAMINATION, "note", f"{said}{rest}; {_ASK} names them")
    names = ", ".join(overlap.benchmark for overlap in found.overlaps)
    said = f"none of {words.plural(total, 'problem')} to evaluate on ({names}) is in the training data{rest}"
    return Check(_CONTAMINATION, "note" if left_out else "good", said)


@lru_cache(maxsize=32)
def _compared(training: Source, benchmarks: tuple[tuple[str, int | None, Source], ...]) -> Report:
    return compare(
        training.section, [Benchmark(name=name, data=source.section, limit=limit) for name, limit, source in benchmarks]
    )
