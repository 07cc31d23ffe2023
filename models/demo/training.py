"""The training loop: resumable, by the clock or by steps, on CUDA or on CPU cores."""
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F

import data
import evaluate
import export
from corpus import mix
from network import Model, Shape
from optimise import Muon
from runlog import Log

# The bytes twin has half as many weights in its linear layers, so that its Q4_K_M file is about as large: 8 % larger, in its favour.
TWINS = {"ternary": Shape(), "full": Shape(), "bytes": replace(Shape(), layers=4, ffn=512)}
PLUS = dict(dim=512, layers=12, heads=8, ffn=1536)  # 38 million parameters, for a GPU
GATE, GATE_LIMIT = 0.9, 0.3  # both probes must pass before the drills end, or this share of the run is over


@dataclass(frozen=True)
class Cycle:
    """How one of the two cycles is run where nobody says otherwise."""
    steps: int
    seed: int
    lr: float    # AdamW
    muon: float
    cool: float  # from this share of the cycle on the rate falls


CYCLES = {1: Cycle(3550, 1, 3e-3, 6e-3, .7), 2: Cycle(2600, 2, 2e-3, 4e-3, .5)}


def settled(o):
    """The options with the cycle's own where none were given."""
    cycle, o = CYCLES[o.cycle], SimpleNamespace(**vars(o))
    for name in ("seed", "lr", "muon"):
        if getattr(o, name) is None:
            setattr(o, name, getattr(cycle, name))
    if not (o.steps or o.minutes):
        o.steps = cycle.steps
    return o


def device():
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def optimisers(model, o):
    matrices = [layer.weight for _, layer in model.linears()]
    mine = {id(w) for w in matrices}
    rest = [p for p in model.parameters() if id(p) not in mine]
    adam = lambda ps: torch.optim.AdamW(ps, lr=o.lr, betas=(.9, .95), weight_decay=0, fused=True)
    if o.muon:
        return [Muon(matrices, o.muon, weight_decay=.05), adam(rest)]
    return [adam(matrices), adam(rest)]


def rate(share, step, cool):
    """Warm-up over 60 steps, constant to the share `cool` of the run, then linear down to 2 %."""
    return min(1, (step + 1) / 60) * (1 if share < cool else max(.02, (1 - share) / (1 - cool)))


class Schedule:
    """Which stage and which rate each step has: by steps, by the clock, or as another run had them.

    `schedule.json` in the run's folder is what a twin needs to see the same batches with the same rates (`--like`).
    """

    def __init__(self, o):
        self.o, self.stages, self.begin, self.before = o, mix.CYCLES[o.cycle], time.time(), 0.0
        self.path = Path(o.run) / "schedule.json"
        self.fixed = json.loads((Path(o.like) / "schedule.json").read_text()) if o.like else None
        kept = json.loads(self.path.read_text()) if self.path.exists() else {}
        books = sorted(p.name for p in Path(o.books).glob("*.txt")) if o.books else []
        self.facts = dict(cycle=o.cycle, seed=o.seed, batch=o.batch, widest=o.widest, books=books)
        for origin in filter(None, (self.fixed, kept)):
            for name, mine in self.facts.items():
                if origin[name] != mine:
                    raise SystemExit(f"{name} is {mine} here and {origin[name]} in the run to be repeated or resumed")
        if self.fixed and not self.fixed["lengths"]:
            raise SystemExit(f"{o.like} went by the clock: its rates cannot be repeated; train it with --steps")
        # (first step, steps of the whole run from there on), and (first step, name of the stage).
        self.lengths, self.switches = kept.get("lengths", []), kept.get("stages", [])

    def seconds(self):
        return self.before + time.time() - self.begin

    def share(self, step):
        """How much of the run is over."""
        if self.fixed:
            return step / [n for first, n in self.fixed["lengths"] if first <= step][-1]
        if not self.o.steps:
            return self.seconds() / (60 * self.o.minutes)
        if not self.lengths or self.lengths[-1][1] != self.o.steps:
            self.lengths.append([step, self.o.steps])
        return step / self.o.steps

    def stage(self, step, share, passed):
        stage = self.planned(step, share, passed)
        if not self.switches or self.switches[-1][1] != stage.name:
            self.switches.append([step, stage.name])
        return stage

    def planned(self, step, share, passed):
        if self.fixed:
            name = [x for first, x in self.fixed["stages"] if first <= step][-1]
            return next(s for s in self.stages if s.name == name)
        first = self.stages[0]
        if self.o.cycle == 1 and not passed and share < GATE_LIMIT:
            return first
        return mix.stage_at(self.stages, max(share, first.until) if self.o.cycle == 1 else share)

    def save(self):
        lengths = self.fixed["lengths"] if self.fixed else self.lengths
        self.path.write_text(json.dumps({**self.facts, "lengths": lengths, "stages": self.switches}, indent=1) + "\n")


def save_atomically(state, path):
    """Never leaves half a checkpoint behind."""
    part = path.with_suffix(".part")
    with part.open("wb") as f:
        torch.save(state, f)
        f.flush()
        os.fsync(f.fileno())
    os.replace(part, path)


class Feed:
    """Batches in order; with workers they are made ahead, in processes of their own."""

    def __init__(self, o):
        self.o, self.ahead = o, {}
        self.pool = ProcessPoolExecutor(o.workers, multiprocessing.get_context("spawn")) if o.workers else None

    def close(self):
        if self.pool:
            self.pool.shutdown(cancel_futures=True)

    def batch(self, step, stage):
        work = (self.o.seed, step, stage, self.o.batch, self.o.books)
        if not self.pool:
            return data.batch(*work)
        for s in range(step, step + 2 * self.o.workers):
            if (s, stage.name) not in self.ahead:
                self.ahead[s, stage.name] = self.pool.submit(data.batch, work[0], s, *work[2:])
        self.ahead = {k: v for k, v in self.ahead.items() if k[0] >= step and k[1] == stage.name}
        return self.ahead[step, stage.name].result()


def load_init(model, path):
    from safetensors.torch import load_file
    model.load_state_dict({k: v.float() for k, v in load_file(path).items()})


class Trainer:
    """A model, its optimisers and how far they are; saved and resumed as one."""

    def __init__(self, o):
        self.o, self.run, self.device = o, Path(o.run), device()
        self.run.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(o.seed)
        if self.device.type == "cpu":
            import torch._inductor.config as inductor
            if "avx512f" in Path("/proc/cpuinfo").read_text():
                inductor.cpp.simdlen = 512
            torch.set_num_threads(o.threads)
        shape = replace(TWINS[o.twin], **PLUS) if o.plus else TWINS[o.twin]
        self.model = Model(shape, "ternary" if o.twin == "ternary" else "full").to(self.device)
        if o.init:
            load_init(self.model, o.init)
        self.plain = [b.forward for b in self.model.blk]
        self.fast = [torch.compile(b.forward, dynamic=False) for b in self.model.blk]
        self.opts = optimisers(self.model, o)
        for group in self.groups():
            group["base"] = group["lr"]
        self.step, self.tokens, self.passed, self.progress = 0, 0, False, Schedule(o)
        if (self.run / "checkpoint.pt").exists():
            self.resume()
        elif o.cycle == 2 and not o.init:
            raise SystemExit("the second cycle begins from the first one's latent weights: --init RUN/first/latent.safetensors")

    def groups(self):
        return [g for opt in self.opts for g in opt.param_groups]

    def use(self, forwards):
        """Compiled blocks for the one width of training, plain ones for everything else."""
        for b, f in zip(self.model.blk, forwards):
            b.forward = f

    def save(self):
        self.progress.save()
        save_atomically(dict(
            model=self.model.state_dict(), opts=[x.state_dict() for x in self.opts], step=self.step, tokens=self.tokens,
            passed=self.passed, seconds=self.progress.seconds(), shape=asdict(self.model.shape), twin=self.o.twin),
            self.run / "checkpoint.pt")

    def resume(self):
        c = torch.load(self.run / "checkpoint.pt", map_location=self.device, weights_only=True)
        self.model.load_state_dict(c["model"])
        for opt, s in zip(self.opts, c["opts"]):
            opt.load_state_dict(s)
        self.step, self.tokens, self.passed, self.progress.before = c["step"], c["tokens"], c["passed"], c["seconds"]

    def update(self, ids, counts, share):
        """One step of the optimisers. Returns the loss."""
        scale = rate(share, self.step, CYCLES[self.o.cycle].cool)
        for group in self.groups():
            group["lr"] = group["base"] * scale
            if share > CYCLES[self.o.cycle].cool:
                group["weight_decay"] = 0.0
        loss = F.cross_entropy(self.model.at(ids[:, :-1], counts[:, 1:]), ids[:, 1:][counts[:, 1:]])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for opt in self.opts:
            opt.step()
            opt.zero_grad()
        self.step, self.tokens = self.step + 1, self.tokens + counts[:, 1:].numel()
        return loss.item()


def train(o):
    """Trains until the run is over. Leaves checkpoint.pt, log.csv, loss.svg and latent.safetensors in its folder."""
    o = settled(o)
    t = Trainer(o)
    log, feed, losses, saved, probes = Log(t.run, t.step), Feed(o), [], time.time(), ("", "")
    while (share := t.progress.share(t.step)) < 1:
        stage = t.progress.stage(t.step, share, t.passed)
        stage = replace(stage, width=min(stage.width, o.widest))
        ids, counts = (torch.from_numpy(a).to(t.device) for a in feed.batch(t.step, stage))
        t.use(t.fast)
        losses.append(t.update(ids, counts, share))
        t.use(t.plain)
        if t.step % o.every == 0:
            if t.step % (2 * o.every) == 0:
                probes = evaluate.probes(t.model, 64)
                t.passed = t.passed or min(probes) >= GATE
            log.write(t.step, t.tokens, share, stage.name, rate(share, t.step, CYCLES[o.cycle].cool), losses, t.progress.seconds(), probes)
            losses, probes = [], ("", "")
        if time.time() - saved > 60 * o.save_minutes:
            t.save()
            saved = time.time()
    t.save()
    feed.close()
    log.curve()
    export.save_latent(t.model, t.run / "latent.safetensors")
    print(f"done: {t.step} steps, {t.tokens} tokens, {t.progress.seconds():.0f} s")
