"""docs/results/regimes.md and its figures, from the measurement that is kept beside it: every number there is made here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from benchmarks import audited, comparisons, curves, plan, seen
from benchmarks.bases import SMALL
from benchmarks.comparisons import DETACHED, JOINT, Contrast, block_table, contrast_table, pooled_table
from benchmarks.markdown import number, points, seeds, table
from benchmarks.plan import ARMS, Arm, Row
from benchmarks.records import Block, Records, blocks, final, load
from benchmarks.single import LAST, MEASURE_EVERY, SAMPLED
from benchmarks.timing import BASE

REPORT = "regimes.md"
_TASKS = {"sorting": "sort six digits: `312654=` → `Answer:123456`", "addition": "add: `123+456=` → `Answer:579`"}


def write(folder: Path) -> Path:
    """Make the report and its figures in the folder of the records."""
    records = load(folder)
    found = blocks(records.rows, "main", [arm.name for arm in ARMS])
    complete = [block for block in found if block.seeds]
    audits = blocks(records.rows, "audit", plan.AUDIT_ARMS)
    parts = {
        "What is seen": seen.section(records, complete, audits, curves.differences(complete, folder)),
        "What was run": _what(records, found),
        "Over all blocks": _pooled(complete),
        "Between arms": _questions(complete),
        "Audit": audited.section(audits),
        "Curves": curves.section(complete, folder),
        "Seconds per update": _timing(records),
        "Every arm, block by block": _block_tables(complete),
    }
    text = [
        "# Regimes, measured",
        "",
        "Does joint training of an MTP head help RL on tiny models, and with which regime? "
        f"{len(ARMS)} arms, {len(found)} blocks (base model and algorithm), {plan.SEEDS} seeds of each, paired. Made by "
        "`python -m benchmarks.regimes report` from [regimes.jsonl](regimes.jsonl) (one line per run) and [regimes.about.json](regimes.about.json), every "
        "number and every verdict; a test holds this page against them. Arms, measures and what ± and p are: [What was run](#what-was-run).",
    ]
    for title, body in parts.items():
        text += ["", f"## {title}", "", *body]
    path = folder / REPORT
    path.write_text("\n".join(text).rstrip() + "\n")
    return path


def _what(records: Records, found: Sequence[Block]) -> list[str]:
    hours = sum(row.get("seconds", 0.0) for row in records.rows) / 3600
    complete = "; ".join(f"{block.name}: {len(block.seeds)} of {plan.SEEDS}" for block in found) or "none"
    rollout, optimizer = plan.RECIPE["rollout"], plan.RECIPE["optimizer"]
    bases = records.about["bases"]
    return [
        f"`python -m benchmarks.regimes run --seeds {plan.SEEDS}`: {_planned(records.rows)}; {hours:.1f} hours of one core in all. Two processor cores, one "
        f"run on each, one thread per run, no GPU. **Seeds that count** (those with a run of every arm): {complete}.",
        "",
        *(f"* {_attempt(attempt)}" for attempt in records.about["attempts"]),
        "",
        f"Recipe: {plan.RECIPE['steps']} steps of {rollout['prompts_per_step']} prompts x {rollout['samples_per_prompt']} samples, "
        f"{plan.RECIPE['update']['mini_batches']} mini-batches, AdamW (weight decay {optimizer['weight_decay']}, "
        f"{optimizer['warmup_steps']} warm-up steps, gradient norm clipped at 1), temperature 1, no KL, no prompt twice. Within a seed all "
        "arms start from the same base with the same data order. The bases know their task by half; they are Qwen3 models of 0.2 M parameters with one "
        "MTP head, trained with cross-entropy on both heads.",
        "",
        *table(
            ["base", "what it does", "steps of cross-entropy", "accuracy at the start, %"],
            [[name, _TASKS[name], str(made["steps"]), f"{100 * made['accuracy']:.1f}"] for name, made in bases.items()],
            words=2,
        ),
        "",
        "What the arms change in it; the settings are explained in [docs/method.md](../method.md#regimes), everything else is the default:",
        "",
        *table(["arm", "settings"], [[arm.name, _settings(arm)] for arm in ARMS], words=2),
        "",
        f"**Learning rate**: mean final accuracy of detach, %, over {seeds(len(plan.SWEEP_SEEDS))} of its own; the best one is used by all arms.",
        "",
        *_sweep(records.rows),
        "",
        *_broken(records.rows),
        *_measures(records.rows),
    ]


def _planned(rows: Sequence[Row]) -> str:
    planned = {
        "sweep of learning rates": ("sweep", len(plan.sweep())),
        "main": ("main", plan.SEEDS * len(ARMS) * len(plan.BASES) * len(plan.ALGORITHMS)),
        "audit": ("audit", plan.AUDIT_SEEDS * len(plan.AUDIT_ARMS) * len(plan.BASES)),
    }
    made = {block: sum(row["block"] == block for row in rows) for block, _ in planned.values()}
    return ", ".join(f"{name} {made[block]} of {count} runs" for name, (block, count) in planned.items())


def _attempt(attempt: Mapping[str, Any]) -> str:
    made = ", ".join(f"{block} ({count} runs)" for block, count in attempt["runs"].items())
    tree = "a clean checkout" if attempt["clean"] else "a checkout with changes that no commit has"
    versions = f"torch {attempt['torch']}, Python {attempt['python']}, {attempt['machine']}"
    return f"{made}: {tree} of commit `{attempt['commit']}`, started {attempt['started']}; {versions}"


def _settings(arm: Arm) -> str:
    text = yaml.safe_dump(arm.values, default_flow_style=True, sort_keys=False, width=1000).strip()[1:-1]
    rate = "" if arm.lr_factor == 1 else f", learning rate x {arm.lr_factor:g}"
    follows = f", `coefficient`: mean of the same seed's {arm.follows} run" if arm.follows else ""
    return f"`{text}`{rate}{follows}"


def _sweep(rows: Sequence[Row]) -> list[str]:
    best = plan.best_lrs(rows)
    swept = [row for row in rows if row["block"] == "sweep"]
    body = []
    for (base, algorithm), lr in best.items():
        cells = []
        for tried in plan.SWEEP_LRS:
            finals = [final(r) for r in swept if (r["base"], r["algorithm"], r["lr"]) == (base, algorithm, tried)]
            text = f"{100 * fmean(finals):.1f}" if finals else ""
            cells.append(f"**{text}**" if tried == lr else text)
        body.append([f"{base}, {algorithm}", *cells])
    return table(["base, algorithm", *(f"{lr:g}" for lr in plan.SWEEP_LRS)], body)


def _broken(rows: Sequence[Row]) -> list[str]:
    broken = [f"{r['block']} {r['base']} {r['algorithm']} {r['arm']} seed {r['seed']}" for r in rows if "failed" in r]
    if not broken:
        return ["No run broke off.", ""]
    return [f"Broken off, and counted as accuracy 0: {'; '.join(broken)}.", ""]


def _measures(rows: Sequence[Row]) -> list[str]:
    gaps: dict[int, list[float]] = {}
    for row in rows:
        if "sampled" in row:
            gaps.setdefault(row["seed"], []).append(row["sampled"] - row["accuracy"][-1])
    found = comparisons.average([fmean(values) for values in gaps.values()])
    return [
        f"* Accuracy is exact: the mean probability of the one right response over {SMALL.test_problems} held-out problems, so no sample is drawn. As a check, "
        f"avg@{SAMPLED.samples} by sampling at the end of each run differs from it by {points(found)} points on average.",
        f"* *Final* is the mean of the last {LAST} measurements (every {MEASURE_EVERY} steps), *area* the mean height of the curve.",
        "* Differences (Δ) are in percentage points, paired by seed: arm and detach have the same base and the same data. Over all blocks: the mean over "
        "the blocks within each seed, then over seeds; each block counts the same in points, so those with large differences weigh most.",
        "* ± is half a 95 % interval (Student's t over seeds), not adjusted. p is adjusted after Holm for the number of comparisons in its heading, and "
        "bold below 0.05; verdicts in words go by it. – stands where there is nothing to compare.",
    ]


def _block_tables(found: Sequence[Block]) -> list[str]:
    text = [
        f"Acceptance: first {LAST} steps → last {LAST}; entropy in nats, last {LAST}. λ: mean over all mini-batches, the first of each step included, where occ has 0 by "
        "rule. Clipped: share of tokens that clipping leaves without gradient. off and detach have the same trunk, number for number. ± is half an "
        "interval of the arm's own mean; differences are paired, and so usually surer than two such intervals suggest.",
    ]
    for block in found:
        text += ["", f"**{block.name}** ({seeds(len(block.seeds))})", "", *block_table(block)]
    return text


def _pooled(found: Sequence[Block]) -> list[str]:
    together = set.intersection(*(set(block.seeds) for block in found)) if found else set()
    return [
        f"Differences to detach, of the mean over the {len(found)} blocks, over {seeds(len(together))}. Last column: blocks "
        "whose own interval (not adjusted) lies above 0 / below 0.",
        "",
        *pooled_table(found),
    ]


def _questions(found: Sequence[Block]) -> list[str]:
    asked = contrast_table(found, seen.QUESTIONS, ("difference", "what it asks"))
    if not found:
        return asked
    best = max(DETACHED, key=lambda arm: fmean(value for block in found for value in block.of(arm, final).values()))
    text = ["Columns without *all* are the blocks' differences of final accuracy.", "", *asked, ""]
    if best == "detach":
        return [*text, "Of detach's learning rates its own was the best over all blocks."]
    return [
        *text,
        f"Of detach's learning rates {best.removeprefix('detach, ')} was the best over all blocks. The joint arms against it; it was chosen on these very "
        "seeds, which flatters it:",
        "",
        *contrast_table(found, {Contrast(arm, best): "" for arm in JOINT}, ("difference",)),
    ]


def _timing(records: Records) -> list[str]:
    timing = records.about.get("timing")
    if timing is None:
        return ["Not measured yet: `python -m benchmarks.regimes timing`."]
    about, found = timing["about"], timing["updates"]
    head = ["arm", *(f"{algorithm}: {what}" for algorithm in found for what in ("seconds", "x detach's"))]
    rows = []
    for arm in next(iter(found.values())):
        cells = [f"{found[a][arm]['seconds']:.3f}" for a in found], [f"{found[a][arm]['ratio']:.2f}" for a in found]
        rows.append([arm, *(cell for pair in zip(*cells, strict=True) for cell in pair)])
    return [
        f"Of one update, a mini-batch of 64 responses on the {BASE} base: forward, backward, optimiser. Medians over the steps of one process on one "
        "thread, the arms taking turns step by step; the multiple is that of detach's update in the same "
        f"round. `python -m benchmarks.regimes timing`, commit `{about['commit']}`, load of the machine when it started "
        f"{number(about['load'], 2)} on two cores: from about 2 on others were computing too, and only the ratios say something.",
        "",
        *table(head, rows),
    ]
