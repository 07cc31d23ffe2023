#!/usr/bin/env python3
"""Trains, measures and exports the demo base. One command does it all:

  train.py all --run runs/ternary
  train.py all --run runs/full --twin full --like runs/ternary         a twin: the same data, order and steps

or step by step:
  train.py tokenizer [--books DIR]             tokenizer.json from generated text (and books)
  train.py train --run DIR                     train or resume the first cycle; --steps N or --minutes M
  train.py train --run DIR --cycle 2 --init LATENT                     the second cycle, from the first one's latent weights
  train.py train --run DIR --twin full --like runs/ternary/first       a twin's first cycle: same data, order, steps and rates
  (--twin bytes: full precision in a smaller shape, as large at 4 bits as the ternary one; --cycle 2 --like runs/ternary: its second cycle)
  train.py eval --run DIR                      exact match per skill -> DIR/scores.json
  train.py export --run DIR --loco LOCO        GGUF files; the command `loco` makes a twin's 4-bit file
  train.py reference --run DIR                 500 dev prompts with greedy answers, to test engines with
  train.py agree --run DIR --loco LOCO         whether the engine gives these answers from the exported file
  train.py smoke                               three minutes: the loss falls, the export round-trips
Runs on CUDA when there is one, else on all CPU cores. Needs torch, numpy, tokenizers, safetensors, gguf.
"""
import argparse
import json
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch

import data
import evaluate
import export
from corpus import mix
from corpus.core import Gen
from network import Model, Shape
from runlog import read_log
from training import TWINS, train


def checkpoint_of(run):
    return torch.load(Path(run) / "checkpoint.pt", map_location="cpu", weights_only=True)


def load_run(run, precision=None):
    """A run's model on the exact path, from its latent weights (made from the checkpoint where they lack)."""
    c, latent = checkpoint_of(run), Path(run) / "latent.safetensors"
    kind = "ternary" if c["twin"] == "ternary" else "full"
    shape = Shape(**c["shape"])
    if not latent.exists() or latent.stat().st_mtime < (Path(run) / "checkpoint.pt").stat().st_mtime:
        model = Model(shape, kind)
        model.load_state_dict(c["model"])
        export.save_latent(model, latent)
    return export.load_latent(latent, shape, precision or kind), c


def evaluation(o):
    """scores.json of a run; for a twin also at 4 bits and made ternary after training."""
    torch.set_num_threads(o.threads)
    model, c = load_run(o.run)
    scores = {"steps": c["step"], "tokens": c["tokens"], "seconds": round(c["seconds"]),
              c["twin"]: evaluate.report(model, o.count)}
    if c["twin"] == "ternary":
        torch.manual_seed(0)
        scores["untrained"] = evaluate.report(Model(model.shape).eval(), o.count, samples=False)
    else:
        small = Path(o.run) / export.NAMES_4BIT[c["twin"]]
        if small.exists():
            scores["at 4 bits"] = evaluate.report(export.load_4bit(small, model.shape), o.count)
        if c["twin"] == "full":
            scores["ternary after training"] = evaluate.report(load_run(o.run, "ternary")[0], o.count, samples=False)
    (Path(o.run) / "scores.json").write_text(json.dumps(scores, indent=1) + "\n")


def exporting(o):
    model, c = load_run(o.run)
    export.files(model, o.run, c["twin"], o.loco)


def references(o):
    """reference.jsonl: 500 dev prompts with the greedy answers of the exact path."""
    torch.set_num_threads(o.threads)
    lines = evaluate.reference(load_run(o.run)[0], 500)
    (Path(o.run) / "reference.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))


def agreement(o):
    """Whether the engine answers the prompts of reference.jsonl with the same text, greedily, from the run's files."""
    if not o.loco:
        raise SystemExit("agree needs the engine: --loco PATH")
    twin = checkpoint_of(o.run)["twin"]
    lines = [json.loads(x) for x in (Path(o.run) / "reference.jsonl").read_text().splitlines()]
    path = Path(o.run) / export.NAMES[twin]
    same, others = evaluate.agreement(o.loco, path, lines)
    print(f"{path.name}: {same} of {len(lines)} answers are the same; smallest gaps of the others: {others}")


def tokenize(o):
    """Trains `tokenizer.json` on 20,000 dialogues and the first 150,000 characters of each book."""
    g = Gen("tokenizer")
    texts = [data.dialogue(g, mix.WEIGHTS, 5) for _ in range(20000)]
    for path in sorted(Path(o.books).glob("*.txt")) if o.books else []:
        texts.append(path.read_text(encoding="utf8", errors="ignore")[2000:150000])
    data.make_tokenizer(texts, Shape().vocab).save(str(data.HERE / "tokenizer.json"))


def smoke(o):
    """Three minutes: the loss falls (by more than half on the machine of the model card), and the exported file reads back as the model is."""
    with tempfile.TemporaryDirectory() as folder:
        # One width, as each is compiled for a while.
        o.run, o.minutes, o.every, o.widest = folder, min(o.minutes or 3, 3), 5, 128
        train(o)
        rows = read_log(folder)
        first, last = float(rows[0]["loss"]), float(rows[-1]["loss"])
        exporting(o)
    if not last < .85 * first:
        raise SystemExit(f"loss fell only from {first} to {last}")
    print(f"ok: loss {first} to {last}, export reads back the same")


def everything(o):
    """From nothing to files: tokenizer, both cycles (the first in RUN/first), files, scores, reference answers."""
    if o.twin != "ternary" and not (o.loco and o.like):
        raise SystemExit("a twin repeats another run and needs the command that makes 4-bit files: --like RUN --loco PATH")
    if not (data.HERE / "tokenizer.json").exists():
        tokenize(o)
    run, like = Path(o.run), Path(o.like) if o.like else None
    given = vars(o)
    train(SimpleNamespace(**{**given, "run": run / "first", "like": like and like / "first", "cycle": 1}))
    o = SimpleNamespace(**{**given, "cycle": 2, "init": run / "first" / "latent.safetensors"})
    for work in (train, exporting, evaluation, references):
        work(o)


COMMANDS = {"tokenizer": tokenize, "train": train, "eval": evaluation, "export": exporting, "reference": references,
            "agree": agreement, "smoke": smoke, "all": everything}


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("command", choices=list(COMMANDS))
    p.add_argument("--run", default="runs/ternary")
    p.add_argument("--twin", choices=list(TWINS), default="ternary")
    p.add_argument("--like", help="run whose steps and stages are repeated")
    p.add_argument("--init", help="latent weights to begin with")
    p.add_argument("--cycle", type=int, choices=list(mix.CYCLES), default=1, help="2: what the first cycle left weak, with --init")
    p.add_argument("--books", help="folder of .txt books mixed in")
    p.add_argument("--minutes", type=float, help="train by the clock")
    p.add_argument("--steps", type=int, help="steps of each cycle [3550 and 2600]")
    p.add_argument("--batch", type=int, default=4096, help="tokens per step")
    p.add_argument("--widest", type=int, default=512, help="longest rows; each width is compiled once, which takes a minute")
    p.add_argument("--lr", type=float, help="rate of AdamW [3e-3, second cycle 2e-3]")
    p.add_argument("--muon", type=float, help="rate of Muon; 0: AdamW for the matrices too [6e-3, second cycle 4e-3]")
    p.add_argument("--seed", type=int, help="[the cycle's number]")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--workers", type=int, default=0, help="processes that make batches ahead; for a GPU")
    p.add_argument("--plus", action="store_true", help="the larger shape, for a GPU")
    p.add_argument("--loco", help="the command `loco`: export then makes a twin's 4-bit file; agree asks it")
    p.add_argument("--every", type=int, default=25, help="steps per log line; probes every second")
    p.add_argument("--count", type=int, default=200, help="test problems a cell in eval")
    p.add_argument("--save-minutes", type=float, default=4)
    return p.parse_args()


if __name__ == "__main__":
    options = arguments()
    COMMANDS[options.command](options)
