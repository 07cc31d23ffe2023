"""Exact match per skill, induction probes, honest ignorance: all greedy, on the exact integer path."""
import json
import math
import subprocess
import tempfile

import torch

import data
from corpus import drills, mix
from corpus.core import Gen


@torch.no_grad()
def probes(model, n):
    """(copy, look-up): share of right tokens when 30 drill words come again, and of right values of four keys."""
    tok, dev = data.tokenizer(), next(model.parameters()).device
    g = Gen("probe", "test")
    right = all_ = 0
    for _ in range(n // 4):
        seg = tok.encode(drills.probe_copy(g)).ids
        x = torch.tensor([[data.BOS] + seg + seg], device=dev)
        best = model(x[:, :-1])[0].argmax(-1)[len(seg) + 1:]
        right += int((best == x[0, len(seg) + 2:]).sum())
        all_ += len(best)
    return right / all_, exact_match(model, [drills.probe_lookup(g) for _ in range(n)])[0]


@torch.no_grad()
def exact_match(model, problems):
    """Share of problems whose last answer is exactly right, and the flags.

    Greedy decoding gives the wanted answer if and only if every token of it (and its end) is the best
    one after the right prefix, so one pass per problem is enough.
    """
    tok, dev = data.tokenizer(), next(model.parameters()).device
    items = []
    for turns in problems:
        items.append((len(tok.encode(data.prompt_of(turns)).ids), tok.encode(data.render(turns)).ids))
    flags = [False] * len(items)
    order = sorted((i for i in range(len(items)) if len(items[i][1]) <= model.shape.context), key=lambda i: len(items[i][1]))
    for s in range(0, len(order), 32):
        part = order[s:s + 32]
        x = torch.full((len(part), max(len(items[i][1]) for i in part)), data.PAD)
        for j, i in enumerate(part):
            x[j, :len(items[i][1])] = torch.tensor(items[i][1])
        best = model(x.to(dev)).argmax(-1).cpu()
        for j, i in enumerate(part):
            cut, ids = items[i]
            flags[i] = best[j, cut - 1:len(ids) - 1].tolist() == ids[cut:]
    return sum(flags) / max(1, len(flags)), flags


@torch.no_grad()
def greedy(model, ids, limit=80):
    """The greedy continuation up to its end mark, and the smallest gap of the best two logits on the way."""
    dev, out, gap = next(model.parameters()).device, [], math.inf
    while len(out) < limit and len(ids) + len(out) < model.shape.context:
        best, at = model(torch.tensor([ids + out], device=dev))[0, -1].topk(2)
        gap = min(gap, float(best[0] - best[1]))
        out.append(int(at[0]))
        if out[-1] == data.EOT:
            break
    return out, gap


def answer(model, turns, limit=80):
    """The greedy answer to the last user turn, as text."""
    tok = data.tokenizer()
    return tok.decode(greedy(model, tok.encode(data.prompt_of(turns)).ids, limit)[0])


def reference(model, n):
    """Dev prompts of all skills with their ids and greedy answers, for the engine to agree with."""
    tok, g, out = data.tokenizer(), Gen("reference", "dev"), []
    for i in range(n):
        turns = g.item(mix.TAUGHT[i % len(mix.TAUGHT)])
        ids = tok.encode(data.prompt_of(turns)).ids
        said, gap = greedy(model, ids, 48)
        out.append({"prompt": data.prompt_of(turns), "prompt_ids": ids, "greedy_ids": said,
                    "greedy_text": tok.decode(said, skip_special_tokens=False), "min_gap": round(gap, 4)})
    return out


def agreement(loco, path, lines):
    """How many greedy answers of `reference` the engine gives too, token by token, and the other answers' smallest gaps."""
    others = []
    with tempfile.TemporaryDirectory() as folder:
        for line in lines:
            ids = line["prompt_ids"] + line["greedy_ids"]
            ran = subprocess.run([loco, "logits", "--model", path, "--ids", ",".join(map(str, ids)), "--out", f"{folder}/x.npy",
                                  "--json"], check=True, capture_output=True)
            best = json.loads(ran.stdout)["argmax"]
            if best[len(line["prompt_ids"]) - 1:-1] != line["greedy_ids"]:
                others.append(line["min_gap"])
    return len(lines) - len(others), sorted(others)


def wilson(share, n, z=1.96):
    """95 % interval of a share."""
    mid, spread = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return [round((mid - spread) / (1 + z * z / n), 3), round((mid + spread) / (1 + z * z / n), 3)]


def problems(skill, held, n, seed="scores"):
    """n different test problems of a skill."""
    g, out, seen = Gen(f"{seed}-{skill}-{held}", "test", held), [], set()
    for _ in range(60 * n):
        turns = g.item(mix.SKILLS[skill])
        if str(turns) not in seen:
            seen.add(str(turns))
            out.append(turns)
        if len(out) == n:
            break
    return out


def cell(model, skill, held, n):
    ps = problems(skill, held, n)
    share = exact_match(model, ps)[0]
    return {"exact": round(share, 3), "n": len(ps), "interval": wilson(share, len(ps))}


UNKNOWING = ("do not know", "does not say", "did not tell", "not in the list", "cannot")
DIALOGUE = ["Hello!", "Who are you?", "What can you do?", "Are you a human?", "My name is Omar.", "I am tired.",
            "What is my name?", "What will the weather be tomorrow?", "Thank you!", "Bye!"]
SAMPLES = ["What is the capital of France?", "How many days are in a week?", "What is 27 plus 45?",
           "Tom has 12 apples. Anna gives Tom 9 more. How many apples does Tom have now?",
           "Mia lives in Oslo. Ben has a dog. Mia works as a nurse. What is the job of Mia?",
           "Text: Mia lives in Oslo. Ben has a dog. Question: What does Ben eat?", "please turn on the kitchen light",
           "Repeat: river stone cloud", "river=7, lamp=3, cloud=9. What is lamp?", "Sort: 41 7 23",
           "Tell me a story about Anna and a fox.", "Why is the sky blue?", "Can you write a poem about the sea?",
           "What is the capital of Brovania?", "It is Monday. What day is it in 3 days?"]


def ignorance(model, n):
    """Share of questions nobody can answer, in known and held-out wordings, that the model says it does not know."""
    out = {}
    for name, held in (("known", False), ("held_out", True)):
        ps = problems("unknown", held, n, "ignorance")
        said = sum(any(u in answer(model, p, 16) for u in UNKNOWING) for p in ps)
        out[name] = {"says_so": round(said / len(ps), 3), "n": len(ps), "interval": wilson(said / len(ps), len(ps))}
    return out


def conversation(model):
    """The fixed samples, and ten turns of small talk in one dialogue."""
    lines, turns = [], []
    for q in SAMPLES:
        lines.append({"user": q, "assistant": answer(model, [(q, "")])})
    for q in DIALOGUE:
        turns.append((q, answer(model, turns + [(q, "")], 40)))
    return lines, [{"user": u, "assistant": a} for u, a in turns]


def report(model, n, samples=True):
    """All scores as one JSON value; `n` test problems a cell."""
    copy, lookup = probes(model, 400)
    skills = {}
    for f in mix.TAUGHT + mix.HELD_BACK:
        k = f.__name__
        skills[k] = {"known": cell(model, k, False, n), "held_out": cell(model, k, True, n)}
        print(k, skills[k]["known"]["exact"], skills[k]["held_out"]["exact"], flush=True)
    mean = lambda c: round(sum(skills[f.__name__][c]["exact"] for f in mix.TAUGHT) / len(mix.TAUGHT), 3)
    out = {"probe_copy": round(copy, 3), "probe_lookup": round(lookup, 3), "mean_known": mean("known"),
           "mean_held_out": mean("held_out"), "skills": skills}
    if samples:
        out["unknown_answered_honestly"] = ignorance(model, n)
        out["samples"], out["dialogue"] = conversation(model)
    return out
