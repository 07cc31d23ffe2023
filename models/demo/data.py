"""From dialogues to batches: chat template, tokenizer, packing, loss weights.

Every batch is a function of (seed, step) alone, so a run resumes where it stopped, and twins see
exactly the same data in the same order. Nothing is stored: text is generated as training goes.
"""
import json
import re
import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from corpus import mix
from corpus.core import Gen

HERE = Path(__file__).parent
SPECIAL = ["<|bos|>", "<|eot|>", "<|user|>", "<|assistant|>", "<|system|>", "<|pad|>"]
BOS, EOT, USER, ASSISTANT, SYSTEM, PAD = range(6)
TEMPLATE = ("<|bos|>{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|eot|>' }}{% endfor %}"
            "{% if add_generation_prompt %}<|assistant|>{% endif %}")
SYSTEMS = ["You are a helpful assistant.", "You are the LocoLLM demo base.", "Answer in one short sentence.",
           "You are a small and honest assistant."]
PROMPT_WEIGHT = 0.1  # an answer's tokens weigh 1


def render(turns, system=None):
    """Dialogue text in the chat template."""
    head = f"<|system|>{system}<|eot|>" if system else ""
    return "<|bos|>" + head + "".join(f"<|user|>{u}<|eot|><|assistant|>{a}<|eot|>" for u, a in turns)


def prompt_of(turns):
    """The same, up to the place where the last answer begins."""
    text = render(turns)
    return text[:text.rindex("<|assistant|>") + len("<|assistant|>")]


@lru_cache(1)
def tokenizer():
    return Tokenizer.from_file(str(HERE / "tokenizer.json"))


def make_tokenizer(texts, vocab):
    """Byte-level BPE; each digit is its own piece, then the GPT-2 split pattern (`pre = smollm`)."""
    t = Tokenizer(models.BPE())
    t.decoder = decoders.ByteLevel()
    t.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    t.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=vocab, special_tokens=SPECIAL, initial_alphabet=alphabet))
    return t


def vocabulary():
    """Tokens in id order and the merges, as GGUF wants them."""
    t = json.loads((HERE / "tokenizer.json").read_text())
    vocab = sorted(t["model"]["vocab"].items(), key=lambda x: x[1])
    if [i for _, i in vocab] != list(range(len(vocab))):
        raise ValueError("tokenizer.json: ids are not 0..n-1")
    return [w for w, _ in vocab], [m if isinstance(m, str) else " ".join(m) for m in t["model"]["merges"]]


def dialogue(g, weights, longest):
    turns = []
    for _ in range(g.c([1, 1, 1, 2, 2, 3, longest])):
        turns += g.item(g.r.choices(list(weights), list(weights.values()))[0])
    return render(turns, g.c(SYSTEMS) if g.chance(.1) else None)


def row(g, weights, width, longest):
    """Whole dialogues until the row is full. Returns ids padded to `width`."""
    tok, ids, misses = tokenizer(), [], 0
    while misses < 3:
        d = tok.encode(dialogue(g, weights, longest if not misses else 1)).ids
        if len(d) <= width - len(ids):
            ids += d
        else:
            misses += 1
    return ids + [PAD] * (width - len(ids))


def loss_weights(rows):
    """1 on what the assistant says (with its end), PROMPT_WEIGHT on the rest, 0 on padding."""
    marks = np.isin(rows, (BOS, EOT, USER, ASSISTANT, SYSTEM))
    last = np.maximum.accumulate(np.where(marks, np.arange(rows.shape[1])[None], -1), 1)
    before = np.concatenate([np.full((len(rows), 1), -1), last[:, :-1]], 1)
    says = np.where(before >= 0, np.take_along_axis(rows, np.maximum(before, 0), 1), BOS) == ASSISTANT
    w = np.where(says, 1.0, PROMPT_WEIGHT)
    w[rows == PAD] = 0
    return w.astype(np.float32)


def repeats(g, width):
    """One random list of words said again and again; the first time is not counted."""
    tok = tokenizer()
    seg = tok.encode(mix.drills.probe_copy(g, g.n(4, 32))).ids
    ids = [BOS] + seg * (width // len(seg) + 1)
    w = np.ones(width, np.float32)
    w[:len(seg) + 2] = 0
    return ids[:width], w


@lru_cache(4)
def books(folder):
    """The token ids of all .txt files of a folder, without licence head and foot."""
    out = []
    for path in sorted(Path(folder).glob("*.txt")):
        text = path.read_text(encoding="utf8", errors="ignore").replace("\r", "")
        start, end = text.find("*** START"), text.find("*** END")
        text = text[text.find("\n", start) if start >= 0 else 0:end if end > 0 else None]
        text = re.sub(r"[ \t]+", " ", re.sub(r"(?<!\n)\n(?!\n)", " ", text)).strip()
        out += [BOS] + tokenizer().encode(text).ids + [EOT]
    return np.array(out, dtype=np.int64)


def batch(seed, step, stage, tokens, folder=None):
    """Ids of one step, [rows, width + 1], and which of them count, for a stage of `mix.CYCLES`.

    A token counts with the probability of its weight: the same on average as weighing, and cheaper.
    """
    g = Gen(f"{seed}-{step}")
    g.easy, g.working = stage.easy, stage.working
    ids, weights = [], []
    for _ in range(max(1, tokens // stage.width)):
        draw = g.r.random()
        if draw < stage.repeats:
            r, w = repeats(g, stage.width + 1)
        elif folder and draw < stage.repeats + stage.books:
            book = books(folder)
            at = g.n(0, len(book) - stage.width - 2)
            r, w = book[at:at + stage.width + 1], np.full(stage.width + 1, .5, np.float32)
        else:
            r = row(g, stage.weights, stage.width + 1, stage.longest)
            w = loss_weights(np.array([r]))[0]
        ids.append(r)
        weights.append(w)
    draw = np.random.default_rng(zlib.crc32(f"{seed}-{step}".encode())).random((len(ids), stage.width + 1))
    return np.array(ids, dtype=np.int64), draw < np.stack(weights)
