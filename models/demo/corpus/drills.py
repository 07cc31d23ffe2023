"""Drills on random words: copy, look-up, n-th word, membership, match. They teach a model to find and
repeat what stands in its context (induction), which reading and every adapter build on.

Answers begin with a word of their own ("Found: lamp 7"), because byte-level BPE writes a word differently
at the start of a text: without it, finding a word and respelling it would have to be learned at once.
"""
from .core import Wordings
from .words import DRILL, NAMES, ORDINALS, made_up


def words(g, n):
    """n different words, sometimes names, numbers or made-up words, so that nothing can be memorised."""
    kind = g.r.random()
    if kind < .75:
        return g.r.sample(DRILL, n)
    if kind < .85:
        return g.r.sample(NAMES, n)
    if kind < .95:
        return [str(x) for x in g.r.sample(range(100), n)]
    out = []
    while len(out) < n:
        w = made_up(g)
        if w not in out:
            out.append(w)
    return out


def size(g, low, high):
    """Small sizes first while the model is new; later mostly middle ones, seldom large."""
    if g.chance(g.easy):
        return g.n(low, low + 1)
    return g.n(low, high) if g.chance(.9) else g.n(high, high + 3)


COPY = Wordings("""
    [Repeat|Copy|Write|Say|Echo]: {x}
    [Repeat|Copy|Echo] [this|these words|the words|the list]: {x}
    [Repeat after me|Say after me|Say this again|Write this again|Once more]: {x}
    [Please repeat|Please copy|Please say]: {x}
    {x} [Repeat that.|Say it again.|Copy that.|Repeat.|Once more.]
    Say these words: {x}
    * [Please write|Please echo|Type]: {x}
    * [Repeat what I say|Say what I say]: {x}
    * {x} [Write that again.|Say that once more.|Please repeat this.]""")
REVERSE = Wordings("""
    Reverse[|: the list| this| these words| the words]: {x}
    [Say|Write|Repeat] [this|these words|the words|the list] backwards: {x}
    [Turn the order around|Backwards|In reverse order]: {x}
    {x} [Reverse that.|Say it backwards.]
    * [Please reverse|Now backwards]: {x}
    * [Copy|Say] [this|the list] in reverse order: {x}""")
COUNT = Wordings("""
    How many words[| are here| are these| are in this list| do you see]: {x}
    [Count|Count the words|Count these words]: {x}
    {x} How many words [are these|is that|are there]?
    [What is the|Tell me the|Give me the] number of words: {x}
    * [Please count|Count all words]: {x}
    * How long is [this|the] list: {x}""")
LOOKUP = Wordings("""
    {p}. [What is|What has|Look up|Find|Give me|Tell me] {w}[?|.]
    {p}. {w}?
    [Table|List|Given|Here is a table|Values|Data|Facts]: {p}. [What is|Look up|Find] {w}[?|.]
    [What is|Look up|Find] {w} in [this|the] [table|list]: {p}
    [Read this|Remember this|Look at this]: {p}. [What is|What has] {w}?
    Which [value|word] [has|goes with|belongs to] {w}? {p}
    * {p}. [Which value has|Please find|Which word goes with] {w}[?|.]
    * [Table|List|Data]: {p}. [Tell me|Give me|What has] {w}[?|.]
    * [Please look up|Tell me] {w}: {p}""")
PAIRS = ["{a} {b}"] * 4 + ["{a}={b}", "{a} = {b}", "{a}: {b}", "{a} is {b}"]
NTH = Wordings("""
    What is the {o} word[?|: in this list?| here?] {x}
    [Which word is|Tell me|Give me|Find|Take|Say] the {o} word[| in the list| of this list]: {x}
    {x} [What is|Which is|Give me|Tell me] the {o} word[?|.]
    [List|Words]: {x}. [What is|Which is|Give me] the {o} word[?|.]
    * [Please say|Please give me|Name] the {o} word: {x}
    * [Which word comes {o}|Which is the {o} word]? {x}""")
NEXT = Wordings("""
    [Which|What] word [comes|is] [right |]{d} {w}? {x}
    {x} [What|Which word] [comes|is] {d} {w}?
    [List|Words]: {x}. [What|Which word] comes {d} {w}?
    [Tell me|Give me|Find] the word {d} {w}: {x}
    * [Please find|Say] the word [right |]{d} {w}: {x}
    * In the list {x}, [what|which word] comes {d} {w}?""")
MEMBER = Wordings("""
    Is {w} in [this list|the list|here|this|these words]? {x}
    [List|Words]: {x}. Is {w} in [it|there|the list]?
    [Does the list|Does this list] [contain|have] {w}? {x}
    {x} [Is {w} in the list?|Is {w} there?|Do you see {w}?]
    [Is there|Do you see] {w} in [this list|the list|here]? {x}
    * {x} [Can you find {w}?|Is {w} in it?]
    * [Tell me|Say] if {w} is in [this|the] list: {x}
    * [Can you find|Can you see] {w} [here|in this list]? {x}""")
COMMON = Wordings("""
    Which word is in both lists? {x} / {y}
    [Find|Name|Give me|Tell me] the word that is in both[| lists]: {x} / {y}
    {x} / {y} Which word is in both?
    [Which|What] word do the[se|] lists share? {x} / {y}
    * [Which|What] word comes in both lists? {x} / {y}
    * [Say|Please find] the word that both lists share: {x} / {y}""")


def copy(g):
    x = words(g, size(g, 1, 9))
    sep = g.c([" ", " ", ", "])
    return g.raw(COPY, x=sep.join(x)), sep.join(x)


def reverse(g):
    x = words(g, size(g, 2, 5))
    return g.raw(REVERSE, x=" ".join(x)), " ".join(x[::-1])


def count(g):
    x = words(g, size(g, 2, 7))
    return g.raw(COUNT, x=" ".join(x)), f"There are {len(x)} words."


def lookup(g):
    n = size(g, 2, 5)
    x = words(g, 2 * n) if g.chance(.6) else words(g, n) + [str(v) for v in g.r.sample(range(1, 100), n)]
    if len(set(x)) < 2 * n:
        return lookup(g)
    keys, values = x[:n], x[n:]
    i, form = g.n(0, n - 1), g.c(PAIRS)
    p = g.c([", ", ", ", "; "]).join(form.format(a=a, b=b) for a, b in zip(keys, values))
    if g.chance(.12):  # a key that is not there
        w = g.c([z for z in g.r.sample(DRILL, 20) if z not in x])
        return g.raw(LOOKUP, p=p, w=w), f"{w} is not in the list."
    return g.raw(LOOKUP, p=p, w=keys[i]), "Found: " + form.format(a=keys[i], b=values[i])


def nth(g):
    x = words(g, size(g, 2, 6))
    i = g.n(0, len(x) - 1)
    o = "last" if i == len(x) - 1 and g.chance(.5) else ORDINALS[i]
    return g.raw(NTH, o=o, x=" ".join(x)), f"It is {x[i]}."


def neighbour(g):
    x = words(g, size(g, 2, 6))
    i = g.n(0, len(x) - 2)
    if g.chance(.75):
        return g.raw(NEXT, d="after", w=x[i], x=" ".join(x)), f"Found: {x[i]} {x[i + 1]}"
    return g.raw(NEXT, d="before", w=x[i + 1], x=" ".join(x)), f"Found: {x[i]} {x[i + 1]}"


def member(g):
    x = words(g, size(g, 3, 6))
    w = x.pop(g.n(0, len(x) - 1))
    if g.chance(.5):
        return g.raw(MEMBER, w=w, x=" ".join(x)), f"No, {w} is not in the list."
    x.insert(g.n(0, len(x)), w)
    return g.raw(MEMBER, w=w, x=" ".join(x)), f"Yes, {w} is in the list."


def common(g):
    n = size(g, 1, 3)
    x = words(g, 2 * n + 1)
    a, b = [x[0]] + x[1:n + 1], [x[0]] + x[n + 1:]
    g.r.shuffle(a)
    g.r.shuffle(b)
    return g.raw(COMMON, x=" ".join(a), y=" ".join(b)), f"It is {x[0]}."


KINDS = {copy: 5, reverse: 1, count: 1, lookup: 6, nth: 2, neighbour: 3, member: 2, common: 1}


def drill(g):
    kind = g.r.choices(list(KINDS), list(KINDS.values()))[0]
    return [kind(g)], None


def probe_copy(g, distance=30):
    """A list of `distance` drill words said twice: whether any word can be repeated from that far back."""
    return " " + " ".join(g.r.sample(DRILL, distance))


def probe_lookup(g, keys=4):
    """One look-up of four keys, in a known wording."""
    x = g.r.sample(DRILL, 2 * keys)
    i = g.n(0, keys - 1)
    p = ", ".join(f"{a} {b}" for a, b in zip(x[:keys], x[keys:]))
    return [(f"Table: {p}. Look up {x[i]}.", f"Found: {x[i]} {x[keys + i]}")]
