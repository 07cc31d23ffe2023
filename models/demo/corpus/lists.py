"""Lists of numbers and words: sorting, largest and smallest, counting, comparing."""
from .core import Wordings
from .drills import size
from .words import DRILL

UP = Wordings("""
    Sort[|: these numbers| from small to large| the list]: {x}
    [Order|Sort|Put in order] from small to large: {x}
    [Put in order|Bring into order|In order]: {x}
    {x} [Sort them.|Sort that.|Put them in order.]
    [Please sort|Sort the numbers]: {x}
    * [Sort|Order] [upwards|from low to high]: {x}
    * [Please order|Now sort] these numbers: {x}""")
DOWN = Wordings("""
    [Sort|Order] from large to small: {x}
    [Sort|Order] [downwards|the other way]: {x}
    {x} [Sort from large to small.|Largest first.]
    * [Please order|Put] from large to small: {x}""")
MOST = Wordings("""
    [What|Which] is the {k} [number|of these|one][|: in this list]? {x}
    [Which|What] number is the {k}? {x}
    [Find|Give me|Tell me|Name] the {k} number[:|. List:] {x}
    {x} [What is the {k}?|Which is the {k}?|The {k}?]
    * [Say|Take] the {k} [number|one]: {x}
    * Of {x}, which is the {k}?""")
TIMES = Wordings("""
    How [often|many times] [is|do you see] {w} [in|here]: {x}
    Count {w} in [this list|the list]: {x}
    {x} How [often|many times] is {w} there?
    * How [often|many times] does {w} come: {x}""")
LONGER = Wordings("""
    [Which|What] list is longer? First: {x} Second: {y}
    First: {x} Second: {y} [Which|What] list is longer?
    [Compare the lists|Which has more words]. First: {x} Second: {y}
    * First: {x} Second: {y} Which list has more words?""")


def lists(g):
    kind = g.c(["up", "up", "up", "down", "most", "most", "times", "longer"])
    if kind in ("up", "down", "most"):
        xs = g.r.sample(range(100), size(g, 2, 4))
        x = g.c([" ", " ", ", "]).join(map(str, xs))
        if kind == "most":
            big = g.chance(.5)
            k = g.c(["largest", "biggest"] if big else ["smallest"])
            return [(g.raw(MOST, k=k, x=x), str(max(xs) if big else min(xs)))], None
        order = sorted(xs, reverse=kind == "down")
        return [(g.raw(UP if kind == "up" else DOWN, x=x), " ".join(map(str, order)))], None
    if kind == "times":
        n, few = g.n(1, 4), g.r.sample(DRILL, 3)
        x = [few[0]] * n + few[1:]
        g.r.shuffle(x)
        return [(g.raw(TIMES, w=few[0], x=" ".join(x)), f"{few[0]} is there {n} times.")], None
    n = g.r.sample(range(1, 6), 2)
    x = g.r.sample(DRILL, sum(n))
    answer = "The first list is longer." if n[0] > n[1] else "The second list is longer."
    return [(g.raw(LONGER, x=" ".join(x[:n[0]]), y=" ".join(x[n[0]:])), f"{n[0]} and {n[1]} words. {answer}")], None
