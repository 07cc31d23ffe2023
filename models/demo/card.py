#!/usr/bin/env python3
"""Writes the tables of CARD.md and the loss curves from finished runs:

  card.py --ternary RUN [--full RUN] [--bytes RUN]     each run after train.py all
"""
import argparse
import json
import shutil
from pathlib import Path

import export
from corpus import mix
from runlog import read_log, svg

HERE = Path(__file__).parent
# Arms of the comparison: name in the tables, run, key in its scores.
ARMS = (("ternary", "ternary", "ternary"), ("twin", "full", "full"), ("twin at 4 bits", "full", "at 4 bits"),
        ("equal bytes at 4 bits", "bytes", "at 4 bits"), ("twin made ternary", "full", "ternary after training"),
        ("untrained", "ternary", "untrained"))


def arms(scores):
    """Scores of each arm that there is, by its name."""
    return {name: scores[run][key] for name, run, key in ARMS if key in scores.get(run, ())}


def percent(cell):
    low, high = cell["interval"]
    return f"{100 * cell['exact']:.0f} ({100 * low:.0f}–{100 * high:.0f})"


def table(all_arms, column):
    """Exact match per skill in percent, with 95 % Wilson intervals."""
    head = f"| skill | n | {' | '.join(all_arms)} |\n|---|---|{'---|' * len(all_arms)}\n"
    rows = []
    for f in mix.TAUGHT + mix.HELD_BACK:
        cells = [a["skills"][f.__name__][column] for a in all_arms.values()]
        note = "" if f in mix.TAUGHT else " (held back)"
        rows.append(f"| {f.__name__}{note} | {cells[0]['n']} | {' | '.join(map(percent, cells))} |")
    mean = "mean_known" if column == "known" else "mean_held_out"
    rows.append(f"| **mean of the taught** | | {' | '.join(f'**{100 * a[mean]:.1f}**' for a in all_arms.values())} |")
    return head + "\n".join(rows)


def probes(all_arms):
    head = f"| | {' | '.join(all_arms)} |\n|---|{'---|' * len(all_arms)}\n"
    rows = [f"| {label} | {' | '.join(f'{100 * a[key]:.0f}' for a in all_arms.values())} |" for label, key in
            (("a drill word said 30 words before", "probe_copy"), ("one of four keys looked up", "probe_lookup"))]
    said = {k: a.get("unknown_answered_honestly") for k, a in all_arms.items()}
    for label, key in (("says that it does not know, known wordings", "known"), ("the same, held-out wordings", "held_out")):
        rows.append(f"| {label} | {' | '.join(f'''{100 * s[key]['says_so']:.0f}''' if s else '–' for s in said.values())} |")
    return head + "\n".join(rows)


def sizes(runs, scores):
    rows = []
    for kind, run in runs.items():
        c = scores[kind]
        first, second = (read_log(folder) for folder in (run / "first", run))
        loss = sum(float(r["loss"]) for r in second[-4:]) / 4
        steps, tokens, seconds = (int(first[-1][key]) + int(c[key + 's' if key == 'step' else key]) for key in ("step", "tokens", "seconds"))
        for name in dict.fromkeys((export.NAMES[kind], export.NAMES_4BIT.get(kind, export.NAMES[kind]))):
            size = (run / name).stat().st_size
            rows.append(f"| `{name}` | {size:,} | {steps:,} | {tokens / 1e6:.1f} M | {loss:.3f} | {seconds / 60:.0f} |")
    return "| file | bytes | steps | tokens | loss at the end | minutes |\n|---|---|---|---|---|---|\n" + "\n".join(rows)


def talk(lines):
    return "\n".join(f"> **{x['user']}**  \n> {x['assistant']}\n>" for x in lines).rstrip(">").rstrip()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for kind in ("ternary", "full", "bytes"):
        p.add_argument(f"--{kind}", required=kind == "ternary", type=Path)
    runs = {kind: run for kind, run in vars(p.parse_args()).items() if run}
    scores = {k: json.loads((run / "scores.json").read_text()) for k, run in runs.items()}
    all_arms = arms(scores)
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    curves = {}
    for kind, run in runs.items():
        shutil.copyfile(run / "scores.json", results / f"{kind}-scores.json")
        shutil.copyfile(run / "first" / "log.csv", results / f"{kind}-first-log.csv")
        shutil.copyfile(run / "log.csv", results / f"{kind}-log.csv")
        shutil.copyfile(run / "first" / "schedule.json", results / f"{kind}-first-schedule.json")
        shutil.copyfile(run / "schedule.json", results / f"{kind}-schedule.json")
        first, second = read_log(run / "first"), read_log(run)
        before = int(first[-1]["tokens"])
        curves[kind] = [(int(r["tokens"]) / 1e6, float(r["loss"])) for r in first]
        curves[kind] += [((before + int(r["tokens"])) / 1e6, float(r["loss"])) for r in second]
    (results / "loss.svg").write_text(svg(curves, "million tokens", "loss on answers (weighted; stages differ in their mix)"))
    parts = {"SIZES": sizes(runs, scores), "KNOWN": table(all_arms, "known"), "HELD": table(all_arms, "held_out"),
             "PROBES": probes(all_arms), "DIALOGUE": talk(all_arms["ternary"]["dialogue"]), "SAMPLES": talk(all_arms["ternary"]["samples"])}
    card = HERE / "CARD.md"
    text = card.read_text()
    for name, part in parts.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if begin not in text or end not in text:
            raise SystemExit(f"{card.name} has no place for {name}")
        text = text[:text.index(begin)] + f"{begin}\n{part}\n" + text[text.index(end):]
    card.write_text(text)


if __name__ == "__main__":
    main()
