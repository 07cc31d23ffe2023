"""Which skills there are, and how much of each goes into training."""
from dataclasses import dataclass

from . import drills
from .commands import command
from .drills import drill
from .facts import fact
from .language import sentiment, spelling
from .lists import lists
from .numbers import arithmetic, units, word_problem
from .reading import reading
from .sql import sql
from .story import story
from .talk import chat, memory
from .unknown import unknown

TAUGHT = (chat, unknown, fact, arithmetic, word_problem, units, reading, memory, command, drill, lists)
HELD_BACK = (sentiment, spelling, sql)  # under one percent together: left for adapters
SKILLS = {f.__name__: f for f in TAUGHT + (story,) + HELD_BACK}

WEIGHTS = {chat: 8, unknown: 9, fact: 16, arithmetic: 10, word_problem: 14, units: 9, reading: 18, memory: 5, command: 6,
           drill: 12, lists: 8, story: 2, sentiment: .3, spelling: .3, sql: .3}


@dataclass(frozen=True)
class Stage:
    """A part of training: until which share of the tokens, in rows of what width, with which mix."""
    name: str
    until: float
    width: int
    longest: int      # most problems in one dialogue
    weights: dict
    easy: float       # chance of the smallest form of a drill
    repeats: float    # share of rows that say one list of words again and again
    books: float      # share of rows from books
    working: bool = False  # whether sums are shown digit by digit


_early = {**WEIGHTS, drill: 50, memory: 12, reading: 25}
STAGES = (
    Stage("drills", .08, 128, 2, {**WEIGHTS, drill: 200, memory: 20, reading: 25, lists: 20}, .5, .25, 0),
    Stage("early", .40, 128, 2, _early, .3, .10, 0),
    Stage("main", .85, 256, 4, WEIGHTS, .1, .02, .03),
    Stage("late", 1.0, 512, 9, WEIGHTS, .05, .01, .03),
)


# The second cycle: what the first left weak, and sums digit by digit.
SECOND = {**WEIGHTS, fact: 13, arithmetic: 14, word_problem: 20, units: 10, drill: 18, lists: 14, sentiment: .02, spelling: .02, sql: .02}
SECOND_STAGES = (
    Stage("second", .85, 256, 4, SECOND, .05, .01, .03, True),
    Stage("last", 1.0, 512, 9, SECOND, .05, .01, .03, True),
)
CYCLES = {1: STAGES, 2: SECOND_STAGES}


def stage_at(stages, done):
    """The stage at this share of the run."""
    return next(s for s in stages if done < s.until or s is stages[-1])
