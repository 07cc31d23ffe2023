"""Short stories with a beginning, a meeting, a trouble and an end."""
from .core import Wordings, tidy
from .words import COLOURS, FOODS, NAMES, PETS

ASK = Wordings("""
    [Tell|Write|Give] me a [|short |little ]story about {n}[.|, please.]
    [Write|Tell] a [|short |little ]story about {n} and a {p}.
    [Write|Tell] a [|short |little ]story about {n} and {m}.
    Please tell me a [|little |short ]story about {n}.
    I [would like|want] a story [with|about] {n}.
    [Can|Could] you tell me a story[| about {n}| about a {p}]?
    Tell me a story[.|, please.| about a {p}.]
    * [Make up|Invent] a story about {n}.
    * Do you know a story about {n}?""")
PARTS = [[x.strip() for x in text.strip().split("\n")] for text in ("""
    One day {n} went to the {l}.
    {n} lived near the {l}.
    It was a [sunny|rainy|cold|warm] day and {n} walked to the {l}.
    [Every morning|Once a week] {n} walked along the {l}.""", """
    There {n} [saw|met|found] a [little|small|young|old] {p}.
    A {p} was sitting under a tree.
    [Suddenly|Soon|Then] a {p} came by.""", """
    The {p} [had found|was looking for|wanted] a {c} {w}.
    The {p} was sad because it had lost its {c} {w}.
    The {p} had a {c} {w} and did not know what to do with it.""", """
    "Do not be afraid," said {n}. "I will help you."
    "What a nice {w}!" said {n}.
    {n} called {m}, and they looked at it together.
    {n} and {m} searched until it was dark.""", """
    They shared some {f} and became friends.
    Then {n} gave the {p} some {f}.
    In the end they found the way home.
    At last they laughed, because it had been there all the time.""", """
    {n} was happy and told {m} about it.
    That night {n} slept very well.
    And from that day on the {p} lived with {n}.""")]


def story(g):
    n, m = g.r.sample(NAMES, 2)
    v = dict(n=n, m=m, p=g.c(PETS), c=g.c(COLOURS), f=g.c(FOODS), w=g.c("ball key box lamp boat stone book hat coin shell".split()),
             l=g.c("forest,park,garden,river,market,hill,beach,old house".split(",")))
    q = g.say(ASK, **v)
    text = " ".join(tidy(g.fill(g.c(p), **v)) for p in PARTS)
    return [(q, text)], q + text
