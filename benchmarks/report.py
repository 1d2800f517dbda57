"""docs/results/regimes.md and its figures, from the measurement that is kept beside it: every number there is made here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from benchmarks import audited, comparisons, plan, seen
from benchmarks.bases import TEST_PROBLEMS
from benchmarks.comparisons import DETACHED, JOINT, Contrast, block_table, contrast_table, over_blocks, pooled_table
from benchmarks.figures import Line, Panel, intervals, lines
from benchmarks.intervals import Mean
from benchmarks.markdown import number, plain, points, table
from benchmarks.plan import ARMS, Row
from benchmarks.records import Block, Records, blocks, final, load
from benchmarks.single import MEASURE_EVERY
from dashboard.palette import regime_colour

REPORT = "regimes.md"
SHOWN = ("sorting", "dapo")
"""The block whose curves are drawn."""
CURVES = ("detach", "ce 0.1", "policy 1", "occ", "occ-calibrated", "oracle")
LIMIT = 4.0
"""Percentage points to either side in the figure of differences."""


def write(folder: Path) -> Path:
    """Make the report and its figures in the folder of the records."""
    records = load(folder)
    found = blocks(records.rows, "main", [arm.name for arm in ARMS])
    complete = [block for block in found if block.seeds]
    parts = [
        ("What was run", _what(records, found)),
        ("Every arm, block by block", _block_tables(complete)),
        ("Over all blocks", _pooled(complete, folder)),
        ("Questions", _questions(complete)),
        ("Curves", _curves(complete, folder)),
        ("Audit", audited.section(blocks(records.rows, "audit", plan.AUDIT_ARMS))),
        ("Seconds per update", _timing(records)),
        ("What is seen", seen.section(complete)),
    ]
    text = [
        "# Regimes, measured",
        "",
        "Does joint training of an MTP head help RL on tiny models, and with which regime? Written by "
        "`python -m benchmarks.regimes report` from [regimes.jsonl](regimes.jsonl) (one line per run) and "
        "[regimes.about.json](regimes.about.json); nothing here is typed by hand but the words.",
    ]
    for place, (title, body) in enumerate(parts, start=1):
        text += ["", f"## {place}. {title}", "", *body]
    path = folder / REPORT
    path.write_text("\n".join(text).rstrip() + "\n")
    return path


def _what(records: Records, found: Sequence[Block]) -> list[str]:
    attempts, bases = records.about["attempts"], records.about["bases"]
    starts = ", ".join(f"{attempt['started']} at commit `{attempt['commit']}`" for attempt in attempts)
    planned = {
        "sweep": len(plan.sweep()),
        "main": plan.SEEDS * len(ARMS) * len(plan.BASES) * len(plan.ALGORITHMS),
        "audit": plan.AUDIT_SEEDS * len(plan.AUDIT_ARMS) * len(plan.BASES),
    }
    made = {name: sum(row["block"] == name for row in records.rows) for name in planned}
    runs = ", ".join(f"{name} {made[name]} of {planned[name]}" for name in planned)
    hours = sum(row.get("seconds", 0.0) for row in records.rows) / 3600
    seeds = ", ".join(f"{block.name} {len(block.seeds)} of {plan.SEEDS}" for block in found) or "none"
    rollout, optimizer = plan.RECIPE["rollout"], plan.RECIPE["optimizer"]
    versions = sorted({f"torch {a['torch']}, Python {a['python']}, {a['machine']}" for a in attempts})
    return [
        f"`python -m benchmarks.regimes run --seeds {plan.SEEDS}`, started {starts}; counted are only runs of the recipe below. "
        f"{'; '.join(versions)}; two processor cores, one run on each, one thread per run, no GPU.",
        "",
        f"Runs: {runs}; {hours:.1f} hours of one core. **Seeds that count** (those with a run of every arm): {seeds}.",
        "",
        f"Recipe: {plan.RECIPE['steps']} steps of {rollout['prompts_per_step']} prompts x {rollout['samples_per_prompt']} samples, "
        f"{plan.RECIPE['update']['mini_batches']} mini-batches, AdamW (weight decay {optimizer['weight_decay']}, "
        f"{optimizer['warmup_steps']} warm-up steps, gradient norm clipped at 1), temperature 1, no KL, no prompt twice. Within a seed all "
        "arms start from the same base with the same data order. Arms: [`benchmarks/plan.py`](../../benchmarks/plan.py).",
        "",
        *table(
            ["base (Qwen3 of 0.2 M parameters, one MTP head)", "warm-up steps", "accuracy at the start, %"],
            [[name, str(made["steps"]), f"{100 * made['accuracy']:.1f}"] for name, made in bases.items()],
        ),
        "",
        f"**Learning rate**: mean final accuracy of detach, %, over {len(plan.SWEEP_SEEDS)} seeds of its own; the best one is used.",
        "",
        *_sweep(records.rows),
        "",
        *_broken(records.rows),
        *_sampled_check(records.rows),
    ]


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


def _sampled_check(rows: Sequence[Row]) -> list[str]:
    gaps: dict[int, list[float]] = {}
    for row in rows:
        if "sampled" in row:
            gaps.setdefault(row["seed"], []).append(row["sampled"] - row["accuracy"][-1])
    found = comparisons.average([fmean(values) for values in gaps.values()])
    return [
        f"Accuracy is exact: the mean probability of the one right response over {TEST_PROBLEMS} held-out problems, so no sample is drawn. avg@8 "
        f"by sampling at the end of each run differs from it by {points(found)} points on average. *Final* is the mean of "
        f"the last three measurements (every {MEASURE_EVERY} steps), *area* the mean height of the curve. Differences (Δ) are in percentage "
        "points, to detach unless said otherwise, paired by seed; ± is half a 95 % interval (Student's t over seeds); p is adjusted after "
        "Holm for the number of comparisons in its heading, and bold below 0.05."
    ]


def _block_tables(found: Sequence[Block]) -> list[str]:
    text = [
        "Acceptance: first three steps → last three. λ: mean over all mini-batches, the first of each step included, where occ has 0 by "
        "rule. Clipped: share of tokens that clipping leaves without gradient. off and detach have the same trunk, number for number.",
    ]
    for block in found:
        text += ["", f"**{block.name}** ({_seeds(len(block.seeds))})", "", *block_table(block)]
    return text


def _pooled(found: Sequence[Block], folder: Path) -> list[str]:
    seeds = set.intersection(*(set(block.seeds) for block in found)) if found else set()
    _differences_figure(found, folder / "regimes-differences.svg")
    return [
        f"The primary table: differences to detach, of the mean over the {len(found)} blocks, over {_seeds(len(seeds))}. Last column: blocks "
        "whose own interval (not adjusted) lies above 0 / below 0.",
        "",
        *pooled_table(found),
        "",
        "![Differences of final accuracy to detach](regimes-differences.svg)",
        "",
        "*Dots: mean over all blocks with its interval; rings: the blocks.*",
    ]


def _differences_figure(found: Sequence[Block], path: Path) -> None:
    rows = []
    for arm in ARMS:
        mean = over_blocks(found, Contrast(arm.name), final)
        if arm.name in ("off", "detach") or mean is None:
            continue
        each = [comparisons.difference(block, Contrast(arm.name), final) for block in found]
        scaled = Mean(100 * mean.value, 100 * mean.half, mean.p, mean.n)
        rows.append((arm.name, _colour(arm.name), scaled, [100 * m.value for m in each if m is not None]))
    path.write_text(intervals(rows, LIMIT, "percentage points", "Final accuracy minus detach's, paired by seed"))


def _questions(found: Sequence[Block]) -> list[str]:
    faster = max(DETACHED, key=lambda arm: fmean(_levels(found, arm)))
    text = ["**Does joint training beat detach?**", ""]
    text += [*contrast_table(found, [Contrast(arm) for arm in JOINT], "arm − detach"), ""]
    text += ["**Would a larger or smaller learning rate do the same for detach?**", ""]
    text += contrast_table(found, [Contrast(arm) for arm in DETACHED if arm != "detach"], "arm − detach")
    against = " Against it, chosen after the fact and so flattered:" if faster != "detach" else ""
    text += ["", f"Best of detach's rates over all blocks: {faster}.{against}", ""]
    if faster != "detach":
        text += contrast_table(found, [Contrast(arm, faster) for arm in JOINT], f"arm − {faster}")
    for title, contrasts in seen.QUESTIONS.items():
        text += ["", f"**{title}**", "", *contrast_table(found, contrasts, "paired difference")]
    return text


def _seeds(count: int) -> str:
    return f"{count} seed{'' if count == 1 else 's'}"


def _levels(found: Sequence[Block], arm: str) -> list[float]:
    return [value for block in found for value in block.of(arm, final).values()] or [0.0]


def _curves(found: Sequence[Block], folder: Path) -> list[str]:
    shown = next((block for block in found if (block.base, block.algorithm) == SHOWN), None)
    text = [
        "What λ would be in a detach run by each reference, and what it is for occ-official and the oracle: means over a run.",
        "",
    ]
    text += [*_coefficients(found), ""]
    if shown is None:
        return text
    steps = (0.0, float(plan.RECIPE["steps"]))
    accuracy = [
        Panel(f"accuracy, %: {block.name}", steps, [_line(block, arm, "accuracy", 100) for arm in CURVES])
        for block in found
        if block.algorithm == SHOWN[1]
    ]
    (folder / "regimes-accuracy.svg").write_text(lines(accuracy, "step", "Exact accuracy by step"))
    used = [_line(shown, arm, "coefficient_curve") for arm in ("occ", "occ, own reference", "occ-calibrated", "oracle")]
    references = ("occ", "occ, own reference", "occ-calibrated")
    panels = [
        Panel("λ", steps, used),
        *(
            Panel(title, steps, [_line(shown, arm, name) for arm in references], is_log=True)
            for title, name in (("ĉ, nats²", "c_hat_curve"), ("v̂², nats²", "v2_hat_curve"))
        ),
    ]
    (folder / "regimes-coefficient.svg").write_text(lines(panels, "step", f"Coefficient, c and v2: {shown.name}"))
    return [
        *text,
        "![Exact accuracy by step](regimes-accuracy.svg)",
        "",
        "![λ, ĉ and v̂² by step](regimes-coefficient.svg)",
        "",
        f"*Means over {_seeds(len(shown.seeds))}; the second figure is {shown.name}, without each step's first mini-batch.*",
    ]


def _coefficients(found: Sequence[Block]) -> list[str]:
    def curve_mean(name: str) -> comparisons.Measure:
        return lambda row: fmean(row[name]) if name in row else None

    head = ["base, algorithm", "reference main", "reference own", "token_mean (occ-official)", "exact (oracle)"]
    asked = [
        ("detach", "coefficient_main_curve"),
        ("detach", "coefficient_own_curve"),
        ("occ-official", "coefficient_curve"),
        ("oracle", "coefficient_curve"),
    ]
    return table(
        head,
        [[b.name, *(plain(comparisons.level(b, arm, curve_mean(name)), 3) for arm, name in asked)] for b in found],
    )


def _line(block: Block, arm: str, name: str, scale: float = 1.0) -> Line:
    curves = [row[name] for row in block.runs[arm].values() if name in row]
    values = [scale * fmean(column) for column in zip(*curves, strict=True)]
    return Line(arm, _colour(arm), values, {"occ, own reference": 1, "occ-calibrated": 2}.get(arm, 0))


def _colour(arm: str) -> str:
    values = next(known.values for known in ARMS if known.name == arm)
    return regime_colour(values["regime"]["kind"])


def _timing(records: Records) -> list[str]:
    timing = records.about.get("timing")
    if timing is None:
        return ["Not measured yet: `python -m benchmarks.regimes timing`."]
    about, found = timing["about"], timing["updates"]
    head = ["arm", *(f"{algorithm}: {what}" for algorithm in found for what in ("seconds", "of detach's"))]
    rows = []
    for arm in next(iter(found.values())):
        cells = [f"{found[a][arm]['seconds']:.3f}" for a in found], [f"{found[a][arm]['ratio']:.2f}" for a in found]
        rows.append([arm, *(cell for pair in zip(*cells, strict=True) for cell in pair)])
    return [
        "Medians over the steps of one process on one thread, the arms taking turns step by step; the ratio is to detach's update in the same "
        f"round. `python -m benchmarks.regimes timing`, commit `{about['commit']}`, load of the machine when it started "
        f"{number(about['load'], 2)} on two cores: from about 2 on others were computing too, and only the ratios say something.",
        "",
        *table(head, rows),
    ]
