"""Questions about one table, and the SQL for them: kept scarce in training."""
from .core import Wordings

TABLES = {"plants": ["name", "height", "colour", "price"], "books": ["title", "author", "pages", "year"],
          "pupils": ["name", "age", "class", "points"], "cars": ["brand", "speed", "price", "year"],
          "sensors": ["room", "value", "day", "kind"], "games": ["title", "players", "price", "age"]}
NUMERIC = {"height", "price", "pages", "year", "age", "points", "speed", "value", "players"}
ASK = {
    "SELECT {c} FROM {t}": Wordings("""
        [Show|List|Give me] [the|every] {c} of [all|the] {t}.
        [What are|Which are] the {c} values in {t}?
        * [Print|Tell me] all {c} entries of {t}."""),
    "SELECT COUNT(*) FROM {t}": Wordings("""
        How many {t} are there?
        [Count|Count all|Give me the number of] {t}.
        * [Tell me|What is] the number of {t}[.|?]"""),
    "SELECT MAX({k}) FROM {t}": Wordings("""
        What is the [largest|highest] {k} of [all|the] {t}?
        [Find|Give me] the maximum {k} of {t}.
        * [Tell me|Show] the highest {k} in {t}."""),
    "SELECT {c} FROM {t} WHERE {k} > {n}": Wordings("""
        [Show|List|Give me] the {c} of {t} with {k} [above|over|more than] {n}.
        [Which|What] {c} have {t} with {k} [above|over] {n}?
        * The {c} of all {t} whose {k} is [above|over] {n}."""),
    "SELECT COUNT(*) FROM {t} WHERE {k} < {n}": Wordings("""
        How many {t} have {k} [below|under|less than] {n}?
        [Count|Give me the number of] {t} with {k} [below|under] {n}.
        * What is the number of {t} whose {k} is [below|under] {n}?"""),
}


def sql(g):
    t = g.c(list(TABLES))
    columns = TABLES[t]
    query, wordings = g.c(list(ASK.items()))
    v = dict(t=t, c=g.c(columns), k=g.c([c for c in columns if c in NUMERIC]), n=g.n(2, 99))
    return [(f"Table {t}({', '.join(columns)}). {g.say(wordings, **v)}", query.format(**v))], None
