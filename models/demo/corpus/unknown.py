"""Questions that the model cannot know the answer of. Honest ignorance is a skill like any other."""
from .core import Wordings
from .words import COLOURS, DAYS, DRILL, MONTHS, NAMES, PLACES, THINGS, made_up, made_up_name

ANSWER = "I do not know that."

QUESTIONS = [Wordings(text) for text in (
    """ # why and how
    Why [is|are|was|does|did|do] [the|a|my|your|this] {w} [{w2}|so {w2}|not {w2}]?
    Why [do|did] [people|we|they|you|men|women|children] [{w}|{w} the {w2}|need {w}]?
    [Explain|Tell me] why [the|a] {w} [is|was] {w2}.
    How does [a|the] {w} work?
    How [is|was] [a|the] {w} made?
    [What is the reason for|What causes|What caused] [the|a] {w}?
    * Why [can|will|would] [the|a] {w} [{w2}|be {w2}]?
    * [Can you explain|Do you know] why [the|a] {w} is {w2}?""",
    """ # the future
    What will [happen|come|be there] [tomorrow|next week|next year|on {d}|in {m}|in the future]?
    Will it [rain|snow|be warm|be cold|be sunny] [tomorrow|on {d}|in {p}|next week]?
    What will the weather be [like |][tomorrow|on {d}|in {p}|next week]?
    Will [{n}|my team|my friend|I] [win|come|be rich|be happy|pass the test][?| tomorrow?| on {d}?]
    Who will win [the game|the match|the election|the race][?| on {d}?| tomorrow?]
    * When will [it rain|it snow|{n} come|the world end]?
    * [Is it going to|Can it] [rain|snow] [tomorrow|on {d}|in {p}]?""",
    """ # now
    What [time|day|year|date] is it[?| now?| today?]
    What is the [weather|temperature][?| now?| today?| in {p}?| outside?]
    Who [won|lost|played] [the game|the match|the race] [yesterday|on {d}|last week|today]?
    What is [in the news|new|on television|happening] [today|now|in {p}]?
    Who is the [president|king|queen|mayor] [now|today|of {p}|of {x}]?
    [What is the price of|How much is] [a ticket to {p}|gold|a house|a {w}|this stock][?| today?| now?]
    When does the [next|first|last] [train|bus|plane] [leave|go to {p}|to {p} leave]?
    * What is today's [date|weather]?
    * Tell me the [time|weather|date|news].
    * What is going on [in {p}|today]?""",
    """ # private
    What is {n}'s [phone number|address|birthday|last name|job|email|favourite colour]?
    What is my [bank balance|password|phone number|address|shoe size|birthday|favourite food]?
    How [old|tall|rich|heavy] is {n}?
    Where [is|was] {n} [now|right now|today|yesterday|on {d}]?
    What [did|does] {n} [say|eat|want|think|buy|do] [yesterday|today|on {d}|every day]?
    Who is {n}'s [father|mother|friend|brother|sister|teacher]?
    Where [are|did I put|did I leave] my [keys|glasses|shoes|{w}]?
    What did I [eat|do|say|dream|buy] [yesterday|this morning|on {d}|last night]?
    [Which|What] [number|word|card|colour] am I thinking of?
    Does {n} [like|love|know|hate] [me|you|{n2}]?
    * What is [{n}|{n2}] [thinking|doing|eating][?| now?| today?]
    * When is {n}'s birthday?
    * [Tell me|Do you know] [{n}'s phone number|where {n} is|how old {n} is|my password].
    * Is {n} [at home|married|happy|rich]?""",
    """ # made-up places, persons, things
    What is the capital of {x}?
    [Which|What] [language|money] do [people|they] [speak|use] in {x}?
    [Where|Who|What] is {x}?
    Where is [the city of |the river |the village of |]{x}?
    How many [people|towns|rivers|islands] [live in|are in|are there in] {x}?
    What is a {y}?
    [What|Which] colour is a {y}?
    What [does|did] [a {y}|{x}] [eat|do|say|make|look like]?
    [Who wrote|Who painted|Who sang|What is] the [book|song|film|picture|poem] {x}?
    When [was {x} born|did {x} die|did {x} live]?
    On which continent is {x}?
    What is the [opposite|plural|past tense] of {y}?
    How many legs does a {y} have?
    Where does a {y} live?
    * [Which city|What city] is the capital of {x}?
    * [Tell me about|Do you know|Have you heard of] [{x}|a {y}][.|?]
    * What kind of animal is a {y}?
    * How [far|big|old] is {x}?""",
    """ # opinion and advice
    [What|Which] is the best [{w}|{w} in the world|{w} for me|way to {w}]?
    Should I [buy|sell|marry|leave|take|go to] [{n}|a {w}|the {w}|{p}]?
    What [do|would] you think [of|about] [{n}|{p}|the {w}|my {w}]?
    Is [it|this|the {w}] [right|fair|better|worth it] to {w2}?
    Who is [better|right|smarter|nicer], {n} or {n2}?
    What is the meaning of [life|{w}|the {w}]?
    Is there [a god|life on other planets|life after death|a {y}]?
    * [Do|Would] you think [{n}|{p}|the {w}] is [good|bad|nice]?
    * Who is the best [{w}|man|woman|singer|player][?| in the world?]
    * Can you give me advice about [{w}|my {w}|{n}]?""",
    """ # history, medicine, law, large knowledge
    [When|In which year|In what year] did the [{w}|war|{w} war] [begin|start|end|happen]?
    [Who|When did they] [invented|invent|discovered|built|found] the {w}?
    [What|Which] [medicine|pill|drug] [should I take|is good] for [my {w}|pain|a cold|fever]?
    Is it [legal|against the law|allowed] to {w} [a|the] {w2}?
    How many [people|{w}|stars|{t}] are there in [{p}|the world|the sky|this room|my house]?
    How [far|long|deep|high|heavy|big] is the [{w}|{w} of {p}|{w2} {w}]?
    How many people live in {p}?
    What happened [in 1{e}{e2}{e}|in 19{e}{e2}|on {d}|in {p}]?
    * Who was the first [man|woman|person|{w}] [to|on the] {w2}?
    * What is the [history|story|law|price] of the {w}?
    * How much does [a|the] {w} [weigh|cost]?""",
    """ # long and creative work
    [Write|Make|Give me] [a poem|a song|an essay|a letter|a speech|a play|a long text|a recipe] [about|for|on] [the {w}|{w}|{n}|{p}].
    [Write|Make] [a program|code|a script|a website|an app] [that|to] {w}[s|] [the|a] {w2}.
    [Translate|Summarise|Rewrite] [the book|this book|my letter|the news|the film {x}][.|, please.]
    [Plan|Organise] [my|a] [trip to {p}|party|week|day|wedding][.| for me.]
    * [Can|Could] you write [a poem|a song|an essay|a letter|a program] [about|for] [the {w}|{n}|{p}]?
    * [I need|Please write] [a poem|an essay|a letter|a speech] about [the {w}|{w}].""",
    """ # nonsense that looks like a fact
    What is the capital of [the |a |]{w}?
    How many {w} are in a {w2}?
    How many legs does a [{w} {w2}|{n}] have?
    What comes after [the |]{w}?
    [What|Which] colour is [the {w} of {n}|{n}|{p}|{d}]?
    What is a [baby|young] {w} called?
    Where does [the {w}|{n}] live?
    * [Tell me|Name] the capital of [the |a |]{w}.
    * What is the {w} of [the |a |]{w2}?""",
)]
for _w in QUESTIONS:  # the first line names the kind
    _w.known = [x for x in _w.known if not x.startswith("#")]

KNOWN_WORDS = {x.split("\t")[1].split()[-1] for x in
               (__import__("pathlib").Path(__file__).parent / "facts.txt").read_text().strip().split("\n")}


def unknown(g):
    w, w2 = g.r.sample([x for x in g.r.sample(DRILL, 8) if x not in KNOWN_WORDS], 2)
    n, n2 = g.r.sample(NAMES, 2)
    q = g.say(g.c(QUESTIONS), w=w, w2=w2, n=n, n2=n2, p=g.c(PLACES), d=g.c(DAYS), m=g.c(MONTHS), x=made_up_name(g),
              y=made_up(g), t=g.c(THINGS), e=g.n(1, 9), e2=g.n(0, 9), c=g.c(COLOURS))
    return [(g.frame(q), ANSWER)], None
