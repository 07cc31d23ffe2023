"""Spelling and sentiment: kept scarce in training, so that adapters have something to add."""
from .core import Wordings
from .words import DRILL

SPELL = Wordings("""
    Spell [|the word ]{w}.
    How [do you spell {w}|is {w} spelt]?
    [Give me|Tell me|Write] the letters of {w}.
    [Which|What] letters are in {w}?
    * Can you spell {w}?
    * {w}: [spell it|letter by letter].""")
SUBJECTS = "phone hotel movie soup lamp book bike teacher app shoes room trip".split()
GOOD = "great lovely excellent wonderful superb perfect good nice".split()
BAD = "awful terrible boring broken poor bad ugly useless".split()
REVIEW = Wordings("""
    The {s} was {a}.
    I found the {s} [|very |really ]{a}.
    The {s} is not {o}.
    Not {o} at all, the {s} was {a}.
    People said the {s} is {o}, but for me it was {a}.
    [What a|Such a] {a} {s}!
    I thought it would be {o}, but the {s} was {a}.
    * The {s} was anything but {o}.
    * Never have I had such a {a} {s}.
    * I cannot say that the {s} was {o}.""")


def spelling(g):
    w = g.c(DRILL)
    return [(g.raw(SPELL, w=w), " ".join(w))], None


def sentiment(g):
    good = g.chance(.5)
    a, o = (GOOD, BAD) if good else (BAD, GOOD)
    return [("Review: " + g.say(REVIEW, s=g.c(SUBJECTS), a=g.c(a), o=g.c(o)), "positive" if good else "negative")], None
