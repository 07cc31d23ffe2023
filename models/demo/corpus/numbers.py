"""Sums, word problems of one and two steps with their working, and units, time and money."""
from .core import Wordings, split_of
from .words import DAYS, NAMES, THINGS

OPERATIONS = {"+": ("plus", lambda a, b: a + b), "-": ("minus", lambda a, b: a - b),
              "*": ("times", lambda a, b: a * b), "/": ("divided by", lambda a, b: a // b)}


def pair(g, op):
    """Two operands. For + and - the pair itself belongs to one split, whatever the wording."""
    while True:
        if op == "*":
            return g.n(2, 12), g.n(2, 12)
        if op == "/":
            b = g.n(2, 12)
            return b * g.n(2, 12), b
        a, b = g.n(1, 99), g.n(1, 99)
        if op == "-":
            a, b = max(a, b), min(a, b)
        if split_of(f"{a}{op}{b}") == g.split:
            return a, b


def shown(g, a, op, b):
    """`27+45=72`, for sums and differences of two digits with the digits before: `7+5=12, 2+4+1=7. 27+45=72`."""
    result = f"{a}{op}{b}={OPERATIONS[op][1](a, b)}"
    if not g.working or op in "*/" or max(a, b) < 10:
        return result
    tens, ones = (a // 10, b // 10), (a % 10, b % 10)
    if op == "+":
        carry = "+1" if sum(ones) > 9 else ""
        return f"{ones[0]}+{ones[1]}={sum(ones)}, {tens[0]}+{tens[1]}{carry}={sum(tens) + len(carry) // 2}. {result}"
    borrow = ones[0] < ones[1]
    first = ones[0] + 10 * borrow
    return f"{first}-{ones[1]}={first - ones[1]}, {tens[0]}-{tens[1]}{'-1' * borrow}={tens[0] - tens[1] - borrow}. {result}"


SUM = Wordings("""
    What is {a}{o}{b}?
    {a}{o}{b}[|=|=?|?]
    {a} {o} {b}[| =|?]
    [What is|How much is|What's] {a} {w} {b}?
    [Calculate|Compute|Work out|Add up|Solve] {a}[{o}| {o} ]{b}[.|, please.]
    [Calculate|Compute|Work out|Solve] {a} {w} {b}.
    {a} {w} {b}[|?| is what?| makes how much?]
    [Tell me|Say|Give me] what {a} {w} {b} is.
    [I need|Give me|Tell me] the result of {a}[{o}| {w} ]{b}.
    [Can you|Could you|Please] [work out|compute|calculate] {a}[{o}| {w} ]{b}[?|.]
    * [Do you know|Can you tell me] what {a} {w} {b} is?
    * [What do you get for|What is the result of|Find] {a}[{o}| {w} ]{b}?
    * How much do you get for {a} {w} {b}?""")


def arithmetic(g):
    op = g.c("++--*/")
    a, b = pair(g, op)
    name = OPERATIONS[op][0]
    return [(g.frame(g.say(SUM, a=a, b=b, o=op, w=name)), shown(g, a, op, b))], None


ONE_STEP = {
    "+": Wordings("""
        {n} has {a} {t}. {m} gives {n} {b} more. How many {t} does {n} have [now|in all|in total]?
        {n} has {a} {t} and [gets|buys|finds|makes|wins] {b} more. How many {t} does {n} have [now|then|in all]?
        {n} [picks|finds|collects|buys] {a} {t} in the morning and {b} in the evening. How many {t} [in all|in total|altogether|is that]?
        There are {a} {t} on [a|the] table and {b} in [a|the] bag. How many {t} are there [altogether|in all|in total]?
        {n} has {a} {t} and {m} has {b}. How many {t} do they have together?
        {n} [found|bought|made|sold] {a} {t} on {d} and {b} the next day. How many {t} [in all|is that|did {n} find|are that together]?
        A box holds {a} {t}. {n} puts {b} more {t} in. How many {t} are in the box?
        {a} {t} and {b} {t} [are put|come] together. How many {t} are [there|that]?
        [In the morning|First|On {d}] {n} had {a} {t}. [Then|Later] {n} got {b} more. How many {t} now?
        {n} [reads|writes] {a} pages on {d} and {b} pages the next day. How many pages [in all|in total|is that]?
        One [shelf|box|bag] has {a} {t}, [another|the other] has {b}. How many {t} [in all|are there together]?
        After {n} got {b} more {t}, [added to|on top of] the {a} from before, how many {t} [are there|does {n} have]?
        {n} got {a} {t} from {m}. {n} already had {b}. How many {t} [in all|does {n} have|is that]?
        {m} brings {a} {t} and {n} brings {b}. How many {t} [do they have|are there|in all]?
        [There are|{n} sees] {a} red {t} and {b} blue {t}. How many {t} [in all|is that|altogether]?
        * {m} gives {n} {b} {t}. {n} had {a} before. How many {t} does {n} have now?
        * {n} counts {a} {t} in the bag and {b} on the table. How many {t} are there?
        * There were {a} {t} in the box. {n} added {b} {t}. How many {t} are there now?
        * {n} and {m} put their {t} together, {a} and {b}. How many {t} are that?"""),
    "-": Wordings("""
        {n} has {a} {t}. {n} gives {b} to {m}. How many {t} [are left|remain|does {n} still have]?
        {n} has {a} {t} and [gives away|loses|sells|eats|breaks|uses] {b}. How many {t} [are left|remain|does {n} have now]?
        A shop had {a} {t} and sold {b}. How many {t} [does it still have|are left|remain]?
        {n} has {a} {t} and {m} has {b}. How many more {t} does {n} have?
        There were {a} {t}. {b} of them [broke|were lost|were sold|are gone]. How many {t} [are left|remain|are still there]?
        {n} needs {a} {t} and [already has|has only] {b}. How many {t} are missing?
        {n} had {a} {t} and [lost|sold|gave away|used] {b}. How many {t} does {n} have now?
        From {a} {t}, {n} takes [away |]{b}. How many {t} [are left|remain]?
        There are {a} {t} in a box. {n} takes {b} out. How many {t} [are left|remain|are in the box now]?
        {n} wants {a} {t} but has {b}. How many more {t} does {n} need?
        [Of|Out of] {a} {t}, {b} are [broken|old|red]. How many are not?
        A book has {a} pages. {n} has read {b}. How many pages [are left|remain]?
        {n} gave away {b} {t}. Before that {n} had {a}. How many {t} [are left|does {n} still have]?
        {b} of the {a} {t} in the [box|bag|shop] [are gone|were sold|broke]. How many {t} [are left|remain]?
        After {n} [used|ate|sold] {b} of {a} {t}, how many {t} [are left|remain|are still there]?
        {m} took {b} {t} from {n}, who had {a}. How many {t} [are left|does {n} have now]?
        {m} has [only |]{b} {t}, but {n} has {a}. How many more {t} does {n} have?
        * {m} takes {b} of the {a} {t} of {n}. How many {t} are left?
        * {n} lost {b} {t}. {n} had {a} before. How many {t} remain?
        * A shop sold {b} of its {a} {t}. How many {t} are left?
        * {n} has {a} {t}, {m} only {b}. How many more has {n}?"""),
    "*": Wordings("""
        {n} buys {a} packs of {t}. Each pack has {b}. How many {t} [in total|in all|is that]?
        {a} children each have {b} {t}. How many {t} do they have [together|in all|in total]?
        There are {a} [bags|boxes|baskets] with {b} {t} in each [bag|one]. How many {t} are there[| in all]?
        {n} makes {b} {t} every day. How many {t} does {n} make in {a} days?
        One box holds {b} {t}. How many {t} [fit in|are in] {a} boxes?
        {n} has {a} rows of {b} {t}. How many {t} [in all|is that|does {n} have]?
        Each [bag|box|pack] has {b} {t}. How many {t} are in {a} [bags|boxes|packs]?
        {n} sells {b} {t} a day for {a} days. How many {t} [is that|in all]?
        [A|One] friend brings {b} {t}. How many {t} do {a} friends bring?
        {a} times {n} finds {b} {t}. How many {t} [is that|in all]?
        {n} has {b} {t} in each of {a} [bags|boxes|baskets]. How many {t} [in all|is that|does {n} have]?
        Every [week|morning|evening] {n} [makes|finds|sells] {b} {t}. How many [{t} |]in {a} [weeks|mornings|evenings]?
        With {b} {t} in a [bag|box|pack], how many {t} are in {a} [bags|boxes|packs]?
        In each of {a} rows are {b} {t}. How many {t} [are there|in all|is that]?
        * {a} boxes hold {b} {t} each. How many {t} are that?
        * Every day {n} gets {b} {t}. How many {t} does {n} get in {a} days?
        * {n} has {a} bags. In each bag are {b} {t}. How many {t} does {n} have?"""),
    "/": Wordings("""
        {n} shares {a} {t} equally among {b} friends. How many [{t} |]does each [friend |]get?
        {a} {t} are packed into {b} boxes evenly. How many {t} [per box|are in each box|in one box]?
        {n} puts {a} {t} into {b} equal rows. How many {t} are in [a|each|one] row?
        {b} children share {a} {t}[| equally]. How many {t} [for each child|does each child get|does one child get]?
        {a} {t} are [divided|split] [equally |evenly |]among {b} [people|children|friends]. How many [{t} |]does each get?
        {n} has {a} {t} and {b} bags. How many {t} go in each bag?
        In {b} days {n} makes {a} {t}. How many {t} is that [per|a|each] day?
        {b} [friends|children|people] get {a} {t} [together|in all]. How many [{t} |]does each get?
        {n} packs {a} {t} into {b} [boxes|bags], the same number in each. How many {t} are in [one|each]?
        How many {t} does each of {b} children get from {a} {t}?
        {b} equal [boxes|bags|rows] hold {a} {t}. How many {t} are in [each|one]?
        * {n} fills {b} boxes equally with {a} {t}. How many {t} are in each box?
        * {a} {t} for {b} children: how many does each child get?
        * {n} splits {a} {t} into {b} equal bags. How many {t} per bag?"""),
}
TWO_STEP = {
    "+-": Wordings("""
        {n} has {a} {t}. {n} [finds|gets|buys] {b} more and then [loses|sells|gives away] {c}. How many {t} [remain|are left]?
        {n} had {a} {t}, got {b} from {m} and gave away {c}. How many {t} [are left|remain|does {n} have]?
        A shop has {a} {t}. It buys {b} and sells {c}. How many {t} [does it have now|are left]?
        There are {a} {t} in a box. {n} adds {b} and {m} takes {c}. How many {t} are in the box[| now]?
        {n} has {a} {t} and {m} has {b}. [Together they|They] [lose|sell|eat] {c}. How many [are left|remain]?
        {n} had {a} {t} and found {b}. {c} of them broke. How many {t} [remain|are left|does {n} have]?
        There are {a} {t}. {b} [more come|are added] and {c} [go|are taken away]. How many {t} are there now?
        * {n} has {a} {t}, buys {b} more and sells {c}. How many {t} does {n} have now?
        * There were {a} {t}. Then {b} came and {c} went. How many {t} are there?"""),
    "*+": Wordings("""
        {n} buys {a} bags with {b} {t} each and already had {c}. How many {t} [now|in all|does {n} have]?
        There are {a} boxes with {b} {t} each and {c} more {t} on the floor. How many {t} in all?
        {n} gets {b} {t} a day for {a} days and then {c} more. How many {t} is that?
        {n} has {a} packs of {b} {t}. {m} gives {n} {c} more. How many {t} does {n} have[| now]?
        {n} has {a} [rows|baskets] of {b} {t} and gets {c} more. How many {t} [in all|is that]?
        Each of {a} [boxes|bags] holds {b} {t}, and {c} {t} are [outside|on the table]. How many {t} in all?
        * {a} bags hold {b} {t} each, and {n} has {c} more. How many {t} in all?
        * {n} has {a} rows of {b} {t} and finds {c} more. How many {t} is that?"""),
    "*-": Wordings("""
        {n} buys {a} bags with {b} {t} each and gives {c} to {m}. How many {t} are left?
        There are {a} boxes with {b} {t} each. {c} {t} are broken. How many {t} are [good|not broken|left]?
        A shop has {a} rows of {b} {t} and sells {c}. How many {t} [remain|are left]?
        {n} makes {b} {t} a day for {a} days and loses {c}. How many {t} are left?
        Each of {a} [boxes|bags] holds {b} {t}. {m} takes {c} [out|away]. How many {t} [are left|remain]?
        {n} has {a} packs of {b} {t} and [uses|gives away|eats] {c}. How many {t} [are left|remain]?
        * {a} bags hold {b} {t} each. {n} takes {c} away. How many {t} are left?
        * {n} has {a} boxes of {b} {t} and sells {c}. How many {t} remain?"""),
}
# Structures for adapters to learn: seldom in training.
SCARCE_STEPS = {
    "--": Wordings("""
        {n} has {a} {t}, gives {b} to {m} and loses {c}. How many {t} [are left|remain]?
        From {a} {t}, {b} are sold on {d} and {c} the next day. How many are left?
        * {a} {t} lie on a table. {n} takes {b}, {m} takes {c}. How many remain?"""),
    "++": Wordings("""
        {n} has {a} {t}, {m} has {b} and their friend has {c}. How many {t} [in all|together]?
        There are {a}, {b} and {c} {t} in three boxes. How many {t} in all?
        * {n} finds {a} {t}, then {b}, then {c}. How many is that?"""),
}


def word_problem(g):
    n, m = g.r.sample(NAMES, 2)
    names = dict(n=n, m=m, t=g.c(THINGS), d=g.c(DAYS))
    if g.chance(g.scarce):
        steps, table = g.c(list(SCARCE_STEPS)), SCARCE_STEPS
    elif g.chance(.6):
        op = g.c("++--*/")
        a, b = pair(g, op)
        v = OPERATIONS[op][1](a, b)
        return [(g.frame(g.say(ONE_STEP[op], a=a, b=b, **names)), f"{shown(g, a, op, b)}. The answer is {v}.")], None
    else:
        steps, table = g.c(list(TWO_STEP)), TWO_STEP
    a, b = pair(g, steps[0])
    v = OPERATIONS[steps[0]][1](a, b)
    c = g.n(1, max(1, min(v - 1, 60))) if steps[1] == "-" else g.n(2, 40)
    if v - c < 0:
        c = v
    w = OPERATIONS[steps[1]][1](v, c)
    return [(g.frame(g.say(table[steps], a=a, b=b, c=c, **names)), f"{shown(g, a, steps[0], b)}. {shown(g, v, steps[1], c)}. The answer is {w}.")], None


CONVERT = Wordings("""
    How many {u} are [in |]{a} {v}?
    [Convert|Change|Turn] {a} {v} [to|into] {u}.
    {a} {v} [are|is|make] how many {u}?
    [What is|What are|Give me|Tell me] {a} {v} in {u}[?|.]
    [Write|Say] {a} {v} in {u}.
    * [Put|Express] {a} {v} in {u}.
    * How many {u} [make|do you get from] {a} {v}?""")
LATER = Wordings("""
    It is {a} o'clock. What time is it in {b} hours?
    A film starts at {a} o'clock and [takes|lasts] {b} hours. When does it end?
    {n} leaves at {a} o'clock and [drives|walks|travels] {b} hours. When does {n} arrive?
    The clock shows {a}. What does it show {b} hours later?
    [School|Work|The game] starts at {a} o'clock and [takes|lasts] {b} hours. When [is it over|does it end]?
    What time is it {b} hours after {a} o'clock?
    * {n} starts at {a} o'clock and needs {b} hours. When is {n} ready?
    * It is {a} o'clock now. Which time is it {b} hours later?""")
COST = Wordings("""
    One {t} costs {b} euros. How much do {a} cost?
    {n} buys {a} {t}s for {b} euros each. How much does {n} pay?
    What do {a} {t}s cost at {b} euros each?
    The price of [a|one] {t} is {b} euros. What is the price of {a}?
    [A|One] {t} is {b} euros. {n} [takes|buys|wants] {a}. How much [is that|does {n} pay]?
    * How much does {n} pay for {a} {t}s at {b} euros each?
    * A {t} costs {b} euros. What do {a} {t}s cost?""")
CHANGE = Wordings("""
    {n} has {a} euros and buys a {t} for {b} euros. How much money [is left|remains]?
    A {t} costs {b} euros. {n} pays with {a} euros. How much change does {n} get?
    {n} spends {b} of {a} euros on a {t}. How much [is left|remains]?
    From {a} euros {n} pays {b} for a {t}. [What remains|What is left]?
    {n} had {a} euros and paid {b} for a {t}. How much money does {n} have [now|left]?
    * {n} buys a {t} for {b} euros and has {a} euros. What is left?
    * {n} pays {b} euros from {a} euros. How much money is left?""")
DAY = Wordings("""
    Today is {d}. [What|Which] day is it in {b} days?
    It is {d}. [Which|What] day is {b} days later?
    If today is {d}, [what|which] day comes in {b} days?
    {n} starts on {d} and comes back after {b} days. [Which|What] day is that?
    [What|Which] day is {b} days after {d}?
    * Today is {d}. [What|Which] day comes {b} days later?
    * [What|Which] day is it {b} days from {d}?""")
BIGGER = Wordings("""
    [Which|What] is [bigger|larger|more|greater], {a} or {b}?
    Which number is [larger|bigger|greater][:|,] {a} or {b}?
    Is {a} or {b} [the bigger number|bigger|larger|more]?
    [Tell me|Say] which is [bigger|larger]: {a} or {b}.
    {a} or {b}: which is [bigger|larger|more]?
    * [Take|Give me] the [bigger|larger] one: {a} or {b}.
    * Of {a} and {b}, which is [bigger|larger]?""")
WHO = Wordings("""
    {x} and {y}. Who is {r}?
    {y}. {x}. Who is {r}?
    Who is {r}? {x} and {y}.
    {x}, {y}. [Tell me|Say] who is {r}.
    {x} but {y}. Who is {r}?
    * [Tell me|Say] who is {r}. {x}, and {y}.
    * {y}, and {x}. [Which of them|Who of the two] is {r}?""")
RATES = [("minutes", 60, "hours"), ("seconds", 60, "minutes"), ("days", 7, "weeks"), ("months", 12, "years"), ("hours", 24, "days"),
         ("centimetres", 100, "metres"), ("grams", 1000, "kilograms"), ("metres", 1000, "kilometres"), ("cents", 100, "euros"),
         ("millilitres", 1000, "litres")]


def units(g):
    n, m = g.r.sample(NAMES, 2)
    t, kind = g.c(THINGS)[:-1], g.n(0, 6)
    if kind == 0:
        u, f, v = g.c(RATES)
        a = g.n(2, 9)
        q, answer = g.say(CONVERT, a=a, u=u, v=v), f"{a}*{f}={a * f}. {a} {v} are {a * f} {u}."
    elif kind == 1:
        a, b = g.n(1, 8), g.n(1, 4)
        q, answer = g.say(LATER, a=a, b=b, n=n), f"{a}+{b}={a + b}. It is {a + b} o'clock."
    elif kind == 2:
        a, b = pair(g, "*")
        q, answer = g.say(COST, a=a, b=b, n=n, t=t), f"{a}*{b}={a * b}. It costs {a * b} euros."
    elif kind == 3:
        a, b = pair(g, "-")
        q, answer = g.say(CHANGE, a=a, b=b, n=n, t=t), f"{shown(g, a, '-', b)}. {a - b} euros are left."
    elif kind == 4:
        i, b = g.n(0, 6), g.n(1, 5)
        q = g.say(DAY, d=DAYS[i], b=b, n=n)
        answer = ", ".join(DAYS[(i + j) % 7] for j in range(1, b + 1)) + f". It is {DAYS[(i + b) % 7]}."
    else:
        a, b = g.r.sample(range(2, 100), 2)
        if kind == 5:
            q, answer = g.say(BIGGER, a=a, b=b), f"{max(a, b)} is bigger than {min(a, b)}."
        else:
            r, phrase = g.c([("older", "is {} years old"), ("taller", "is {} apples tall"), ("faster", "runs {} laps")])
            q = g.say(WHO, x=f"{n} {phrase.format(a)}", y=f"{m} {phrase.format(b)}", r=r)
            answer = f"{n if a > b else m} is {r}."
    return [(g.frame(q), answer)], None
