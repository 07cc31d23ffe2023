"""Short texts and questions about them. Half of the questions have no answer in the text."""
from .core import Wordings
from .words import COLOURS, FOODS, HOBBIES, INSTRUMENTS, JOBS, NAMES, PETS, PLACES

MISSING = "The text does not say."


class Field:
    """Something that texts tell about people: how texts say it, how one asks for it, and for the person."""

    def __init__(self, values, say, ask, who, answer):
        self.values, self.say, self.ask, self.who, self.answer = values, Wordings(say), Wordings(ask), Wordings(who), answer


FIELDS = {
    "job": Field(JOBS, """
        {n} is a {v}.
        {n} [works|found work|found a job] as a {v}.
        The job of {n} is {v}.
        {n} [became|is now] a {v}.
        * [By job|Today] {n} is a {v}.""", """
        What is the job of {n}?
        What is {n}'s job?
        What [work|job] does {n} do?
        What does {n} [work as|do for work]?
        [Which|What] job does {n} have?
        [Tell me|Say] what job {n} has.
        * As what does {n} work?
        * [Tell me|What is] the work of {n}[.|?]""", """
        Who [is|works as] a {v}?
        [Which person|Who of them] is a {v}?
        Whose job is {v}?
        * [Tell me|Say] who is a {v}.""", "{n} is a {v}."),
    "city": Field(PLACES, """
        {n} [lives in|moved to|is from|has a house in] {v}.
        The [home|house|family] of {n} is in {v}.
        You can find {n} in {v}.
        * {n}'s [home|house] is in {v}.""", """
        Where does {n} live?
        In [which|what] city [is|does] {n}[| live]?
        [Which|What] city does {n} live in?
        Where is the [home|house] of {n}?
        Where is {n} [from|at home]?
        [Tell me|Say] where {n} lives.
        * [Which|What] city is the home of {n}?
        * Where can [I|you|we] find {n}?""", """
        Who lives in {v}?
        [Which person|Who of them] lives in {v}?
        Who is from {v}?
        * [Tell me|Say] who lives in {v}.""", "{n} lives in {v}."),
    "pet": Field(PETS, """
        {n} [has|owns|keeps|bought|got] a {v}.
        {n} has a {v} at home.
        The pet of {n} is a {v}.
        * {n}'s pet is a {v}.""", """
        [Which|What] [animal|pet] does {n} [have|own|keep]?
        What is the pet of {n}?
        What is {n}'s pet?
        [Tell me|Say] what pet {n} has.
        * [Which|What] pet is at home with {n}?
        * [Which|What] animal lives with {n}?""", """
        Who [has|owns|keeps] a {v}?
        [Which person|Who of them] has a {v}?
        Whose pet is a {v}?
        * [Tell me|Say] who has a {v}.""", "{n} has a {v}."),
    "food": Field(FOODS, """
        {n} [likes|loves|eats|wants] {v}.
        {n} [eats {v} every day|likes to eat {v}|loves to eat {v}].
        The [best|favourite] food [of|for] {n} is {v}.
        * {n}'s favourite food is {v}.""", """
        What food does {n} like?
        What does {n} [eat|like to eat|love to eat]?
        [Which|What] food is best for {n}?
        What is the [best|favourite] food of {n}?
        [Tell me|Say] what {n} eats.
        * What is {n}'s favourite food?
        * [Which|What] food does {n} [eat|love]?""", """
        Who [likes|eats|loves|wants] {v}?
        [Which person|Who of them] likes {v}?
        * [Tell me|Say] who likes {v}.""", "{n} likes {v}."),
    "colour": Field(COLOURS, """
        {n} [has|drives|bought|owns] a {v} car.
        The car of {n} is {v}.
        * {n}'s car is {v}.""", """
        [What|Which] colour is the car of {n}?
        [What|Which] colour does the car of {n} have?
        [What|Which] colour of car does {n} drive?
        [Tell me|Say] the colour of {n}'s car.
        * [What|Which] colour is {n}'s car?
        * What is the colour of the car of {n}?""", """
        Who [has|drives|owns] a {v} car?
        [Which person|Who of them] has a {v} car?
        Whose car is {v}?
        * [Tell me|Say] who has a {v} car.""", "The car of {n} is {v}."),
    "hobby": Field(HOBBIES, """
        {n} [enjoys|practises] {v}[| every week| on Sunday].
        The hobby of {n} is {v}.
        * {n}'s hobby is {v}.""", """
        What is the hobby of {n}?
        What is {n}'s hobby?
        [Which|What] hobby does {n} have?
        [Tell me|Say] the hobby of {n}.
        * What does {n} enjoy?
        * [Tell me|Say] what hobby {n} has.""", """
        Who [enjoys|practises] {v}?
        Whose hobby is {v}?
        * [Tell me|Say] who enjoys {v}.""", "{n} enjoys {v}."),
    "instrument": Field(INSTRUMENTS, """
        {n} [plays|is learning|can play] the {v}.
        The instrument of {n} is the {v}.
        * {n}'s instrument is the {v}.""", """
        [Which|What] instrument does {n} play?
        What does {n} play?
        What is the instrument of {n}?
        [Tell me|Say] what {n} plays.
        * What can {n} play?
        * What is {n}'s instrument?""", """
        Who [plays|can play] the {v}?
        [Which person|Who of them] plays the {v}?
        * [Tell me|Say] who plays the {v}.""", "{n} plays the {v}."),
}
# Things that no text here ever says.
NEVER = Wordings("""
    How [old|tall|rich|big|heavy] is {n}?
    When [was {n} born|does {n} get up|does {n} go to bed]?
    Why is {n} [happy|sad|here|tired|late]?
    Why does {n} [like that|do that|live there]?
    Who is the [mother|father|friend|brother|sister|teacher] of {n}?
    What is the [phone number|last name|birthday|address] of {n}?
    How many [children|friends|brothers|books|cars] does {n} have?
    What is the name of {n}'s [mother|father|friend|sister|dog]?
    * How much does {n} [earn|weigh|sleep]?
    * Does {n} have [children|a sister|a bike]?
    * What is {n} afraid of?""")
FRAME = Wordings("""
    Text: {x} Question: {q}
    {x} {q}
    [Read this|Read|Here is a text|A short text]: {x} {q}
    {q} [Text|Read this|Here is the text]: {x}
    [Read the text.|Read this.|Look at the text.] {x} {q}
    Text: {x} {q}
    {x} Question: {q}
    [Answer from the text.|Use the text.|Only use the text.] {x} {q}
    * [This is the text|Story]: {x} [Now tell me|My question]: {q}
    * [Please read]: {x} {q}
    * {q} [Look here|Answer from this]: {x}""")


def text(g, longer):
    """Facts (person, field, value) and the text that tells them."""
    total = g.n(5, 7) if longer else g.c([1, 1, 2, 2, 2, 3, 3, 4])
    people = g.r.sample(NAMES, min(total, g.n(1, 3)))
    facts = []
    while len(facts) < total:
        n, k = g.c(people), g.c(list(FIELDS))
        v = g.c(FIELDS[k].values)
        if all((n, k) != f[:2] and (k, v) != f[1:] for f in facts):
            facts.append((n, k, v))
    known, g.held = g.held, False  # held-out wordings are of questions; texts speak as always
    said = " ".join(g.say(FIELDS[k].say, n=n, v=v) for n, k, v in facts)
    g.held = known
    return facts, said


def missing(g, facts):
    """A question that the text does not answer."""
    people = sorted({f[0] for f in facts})
    kind = g.r.random()
    if kind < .25:
        return g.say(NEVER, n=g.c(people))
    if kind < .4:
        k = g.c(list(FIELDS))
        v = g.c([v for v in FIELDS[k].values if all((k, v) != f[1:] for f in facts)])
        return g.say(FIELDS[k].who, v=v)
    # someone else, or something else about someone who is there
    k = g.c([f[1] for f in facts]) if kind < .7 else g.c(list(FIELDS))
    n = g.c([x for x in g.r.sample(NAMES, 8) + people if (x, k) not in {f[:2] for f in facts}])
    return g.say(FIELDS[k].ask, n=n)


def reading(g):
    facts, said = text(g, g.chance(g.scarce))
    turns = []
    for i in range(g.c([1, 1, 1, 2])):
        if g.chance(.5):
            q, a = missing(g, facts), MISSING
        else:
            n, k, v = g.c(facts)
            q = g.say(FIELDS[k].who, v=v) if g.chance(.3) else g.say(FIELDS[k].ask, n=n)
            a = FIELDS[k].answer.format(n=n, v=v)
            a = a.replace(" a o", " an o")
        turns.append((g.say(FRAME, x=said, q=q) if i == 0 else q, a))
    return turns, None
