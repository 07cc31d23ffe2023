"""What every skill builds on: wordings with alternatives, the seeded generator, and the splits.

A wording is one line such as `[What|Which city] is the capital of {x}?`. Each `[a|b]` is a choice, so
one line stands for several wordings. A line that starts with `* ` is held out: its wordings never
occur in training and measure how far a skill carries over to new phrasings.

A problem is (turns, values): the turns as (user, assistant) pairs, and the values that decide its
split, or None when the normalised text of the user's turns decides (then wording times values does).
"""
import itertools
import random
import re
import zlib

SPLITS = ("train", "dev", "test")
CHOICE = re.compile(r"\[([^\[\]]*)\]")


def normal(text):
    """Lower case, words and numbers only: two problems with the same normal text count as one."""
    return " ".join(re.findall(r"[a-z]+|\d|[^\w\s]", text.lower().replace("?", "").replace(".", "").replace("!", "").replace(",", "")))


def split_of(key):
    """5 % of all keys are test, 5 % dev, the rest train."""
    h = zlib.crc32(key.encode()) % 20
    return "test" if h == 0 else "dev" if h == 1 else "train"


class Wordings:
    """The known and the held-out wordings of one question."""

    def __init__(self, text):
        lines = [x.strip() for x in text.strip().split("\n") if x.strip()]
        self.known = [x for x in lines if not x.startswith("* ")]
        self.held = [x[2:] for x in lines if x.startswith("* ")]
        if not self.known or not self.held:
            raise ValueError(f"needs known and held-out lines: {text[:60]}")

    @staticmethod
    def expand(line):
        """All wordings that a line stands for."""
        parts = CHOICE.split(line)
        options = [p.split("|") if i % 2 else [p] for i, p in enumerate(parts)]
        return ["".join(x) for x in itertools.product(*options)]

    def all(self, held):
        return [w for line in (self.held if held else self.known) for w in self.expand(line)]


OPENERS = ["Please tell me: ", "I have a question. ", "Quick question: ", "Hey, ", "Hi! ", "Next one. ", "Okay. ",
           "Now this: ", "Here is a question. ", "Question: ", "Can you help me? ", "One more: ", "Let us try this. "]
CLOSERS = [" Thanks!", " Please.", " Answer briefly.", " Thank you.", " What do you say?", " I want to know."]


class Gen:
    """Draws problems of one split; `held` asks for the held-out wordings."""

    def __init__(self, seed=0, split="train", held=False):
        self.r, self.split, self.held = random.Random(seed), split, held
        self.scarce = 0.04  # chance of a harder form; adapters are to learn these
        self.easy = 0.0     # chance of the smallest form of a drill, for the first steps of training
        self.working = True  # sums and differences digit by digit

    def c(self, xs):
        return self.r.choice(xs)

    def n(self, low, high):
        return self.r.randint(low, high)

    def chance(self, p):
        return self.r.random() < p

    def say(self, wordings, **values):
        """One wording with its values filled in, tidied."""
        return tidy(self.raw(wordings, **values))

    def raw(self, wordings, **values):
        """One wording with its values filled in and nothing else touched."""
        return self.fill(self.c(wordings.held if self.held else wordings.known), **values)

    def fill(self, line, **values):
        """A line with one of each of its choices taken."""
        return CHOICE.sub(lambda m: self.c(m.group(1).split("|")), line).format(**values)

    def frame(self, question):
        """Sometimes something polite around a question, or less careful typing."""
        if self.chance(.15):
            question = self.c(OPENERS) + question
        if self.chance(.08):
            question += self.c(CLOSERS)
        if self.chance(.10) and question[-1] in "?.":
            question = question[:-1]
        if self.chance(.10):
            question = question[0].lower() + question[1:]
        return question

    def item(self, skill):
        """One problem of a skill, from this split."""
        while True:
            turns, values = skill(self)
            key = values or normal(" / ".join(u for u, _ in turns))
            if split_of(skill.__name__ + "|" + key) == self.split:
                return turns


def tidy(text):
    """Right articles and a capital letter at the start of each sentence."""
    text = re.sub(r"\b([Aa]) (?=[aeio]\w)", r"\1n ", text)
    text = re.sub(r"\s+", " ", text).strip()
    return text[:1].upper() + text[1:]
