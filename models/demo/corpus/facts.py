"""The closed set of facts (`facts.txt`: kind, value, answer) and the ways to ask for them."""
from pathlib import Path

from .core import Wordings

FACTS = [tuple(x.split("\t")) for x in (Path(__file__).parent / "facts.txt").read_text().strip().split("\n")]

ASK = {kind: Wordings(text) for kind, text in {
    "capital": """
        What is the capital[| city] of {x}?
        [Which city|What city] is the capital of {x}?
        [Tell me|Name|Give me] the capital[| city] of {x}.
        [Do you know|Can you name|Can you tell me] the capital of {x}?
        [Capital of|The capital of] {x}?
        {x} has which capital[| city]?
        * What is {x}'s capital[| city]?
        * What is the name of the capital of {x}?
        * I need the capital of {x}.""",
    "country": """
        {x} is the capital of [which|what] country?
        [Which|What] country has the capital {x}?
        [Of which country|Of what country] is {x} the capital?
        [Tell me|Name] the country whose capital is {x}.
        * [What|Which] country is {x} the capital of?
        * In which country is {x} the capital?""",
    "continent": """
        [On|In] which continent is {x}?
        [Which|What] continent is {x} [in|on]?
        [Tell me|Name] the continent of {x}.
        {x} is [in|on] which continent?
        * [Do you know|Can you tell me] the continent of {x}?
        * To which continent does {x} belong?""",
    "opposite": """
        What is the [opposite|antonym] of {x}?
        [Opposite|The opposite|Antonym] of {x}?
        [Tell me|Give me|Name] the opposite of [|the word ]{x}.
        [Which|What] word is the opposite of {x}?
        What is the opposite word [of|for] {x}?
        {x} is the opposite of [which|what] word?
        * [Do you know|Can you tell me] the opposite of {x}?
        * What is the contrary of {x}?
        * [Find|Say] the opposite of {x}.""",
    "plural": """
        What is the plural[| form] of {x}?
        [Plural|The plural] of {x}?
        [Give me|Tell me|Name] the plural of [|the word ]{x}.
        [One {x}, two what?|One {x}, many what?]
        What is the word for many of {x}?
        * [Do you know|Can you tell me] the plural of {x}?
        * How do you say {x} in the plural?""",
    "past": """
        What is the past [tense|form] of {x}?
        [Past tense|The past tense|Past form] of {x}?
        [Give me|Tell me|Name] the past tense of [|the verb ]{x}.
        Put [|the verb ]{x} into the past[| tense].
        * [Do you know|Can you tell me] the past tense of {x}?
        * How do you say {x} in the past tense?""",
    "colour": """
        [What|Which] colour is {x}?
        [What is|Tell me|Name] the colour of {x}.
        [What|Which] colour does {x} have?
        {x} has [which|what] colour?
        * [Do you know|Can you tell me] the colour of {x}?
        * {x} is of which colour?""",
    "mix": """
        [What|Which] colour do {x} make?
        What do [you|I|we] get when [you|I|we] mix {x}?
        Mix {x}. [Which|What] colour is it?
        {x} [mixed|together] make [which|what] colour?
        * [Which|What] colour do I get from {x}?
        * [Tell me|Name] the colour that {x} make.""",
    "sound": """
        [What|Which] [sound|noise] does a {x} make?
        How does a {x} sound?
        [Tell me|Name] the [sound|noise] of a {x}.
        A {x} makes [which|what] [sound|noise]?
        * [Do you know|Can you tell me] the sound of a {x}?
        * What is the sound that a {x} makes?""",
    "young": """
        What is a [baby|young] {x} called?
        What do [you|we] call a [baby|young] {x}?
        [Tell me|Give me] the name of a [baby|young] {x}.
        [What|Which] is the name of a baby {x}?
        * How is a [young|baby] {x} called?
        * What is the word for a [baby|young] {x}?""",
    "legs": """
        How many legs does a {x} have?
        [Tell me|Say] how many legs a {x} has.
        A {x} has how many legs?
        [What is the number|Tell me the number|Give me the number] of legs of a {x}.
        * [Do you know|Can you tell me] how many legs a {x} has?
        * [A|One] {x}: how many legs?""",
    "class": """
        What [kind|type|sort] of animal is a {x}?
        Is a {x} a mammal, a bird or [something|what] else?
        [To which|Which] group of animals does a {x} belong[| to]?
        A {x} is what [kind|type] of animal?
        * [Tell me|Do you know] what kind of animal a {x} is.
        * In which group of animals is a {x}?""",
    "home": """
        Where does a {x} live?
        What is the home of a {x}?
        [Tell me|Say] where a {x} lives.
        In [which|what] place does a {x} live?
        * [Do you know|Can you tell me] where a {x} lives?
        * A {x} lives where?""",
    "unit": """
        How many {x}?
        How many {x} are there?
        [Tell me|Say] how many {x} there are.
        [What is|Tell me|Give me] the number of {x}.
        [The number|Number] of {x}?
        * [Do you know|Can you tell me] how many {x} there are?
        * There are how many {x}?""",
    "after": """
        What comes [after|right after|just after] {x}?
        [Which one|Which] comes after {x}?
        What [follows|is after] {x}?
        [Tell me|Name|Say] what comes after {x}.
        * [Do you know|Can you tell me] what comes after {x}?
        * {x} is followed by what?""",
    "before": """
        What comes [before|right before|just before] {x}?
        [Which one|Which] comes before {x}?
        What is before {x}?
        [Tell me|Name|Say] what comes before {x}.
        * [Do you know|Can you tell me] what comes before {x}?
        * What is just before {x}?""",
    "nth day": """
        What is the {x} day of the week?
        [Which|What] day is the {x} day of the week?
        [Name|Tell me|Give me] the {x} day of the week.
        The {x} day of the week is [which|what]?
        * [Do you know|Can you tell me] the {x} day of the week?
        * Which day is {x} in the week?""",
    "nth month": """
        What is the {x} month of the year?
        [Which|What] month is the {x} month of the year?
        [Name|Tell me|Give me] the {x} month of the year.
        The {x} month of the year is [which|what]?
        * [Do you know|Can you tell me] the {x} month of the year?
        * Which month is {x} in the year?""",
    "science": """
        {x}
        [Tell me|Please answer|A question|Say]: {x}
        [Please tell me.|Here is a question.|Now this.] {x}
        {x} [Please answer.|Tell me.|Do you know?]
        * I want to know this. {x}
        * [Can you tell me?|Answer this.] {x}""",
    "digits": """
        [Write|Give me|Put] {x} as a number.
        What is {x} [in digits|as a number]?
        [Which|What] number is {x}?
        {x} [in digits|as a number]?
        * [Tell me|Write] {x} in digits.
        * Which digits stand for {x}?""",
    "language": """
        [What|Which] language do [people|they|most people] speak in {x}?
        [What|Which] language is spoken in {x}?
        [The language|Language] of {x}?
        What do [people|they] speak in {x}?
        * [Tell me|Name] the language of {x}.
        * In {x}, people speak which language?""",
}.items()}


def fact(g):
    kind, value, answer = g.c(FACTS)
    return [(g.frame(g.say(ASK[kind], x=value)), answer)], None
