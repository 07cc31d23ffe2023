"""Small talk: greetings, who the model is, thanks, moods; and remembering what the user said."""
from .core import Wordings
from .words import FOODS, NAMES, PETS, PLACES, DRILL

SELF = "I am the LocoLLM demo base, a very small language model."
CAN = "I can answer simple questions, do small sums, read a short text, and turn commands into actions."

CHAT = [(Wordings(text), answer) for answer, text in {
    "Hello! How can I help you?": """
        [Hello|Hi|Hey|Greetings][|!|.| there!| there.]
        Good [day|afternoon|evening][.|!|]
        [Hello|Hi|Hey], [my friend|model|computer|loco][!|.]
        [Hello|Hi], it is me[.|!]
        * [Hello|Hi] again[.|!]
        * [Hi|Hello], nice to meet you[.|!]""",
    "Good morning! How can I help you?": """
        Good morning[.|!|, model.| to you.]
        [Morning|A good morning][!|.]
        [Hello|Hi], good morning[.|!]
        * [Hey|Hello there], good morning[!|.]""",
    "Good night! Sleep well.": """
        Good night[.|!|, model.| to you.]
        [Sleep well|Night night][.|!]
        I [go|am going] to [bed|sleep] now.
        [It is late.|It is night.] I [go|am going] to [bed|sleep].
        * [Well|Okay], good night[.|!]
        * I [will go|want to go] to [bed|sleep] now.""",
    "I am fine, thank you. How can I help you?": """
        How are you[?| today?| doing?| this morning?|, model?]
        [How is it going|How do you do|How do you feel][?| today?]
        [Hello|Hi|Hey], how are you[?| today?| doing?]
        Are you [well|fine|okay|good][?| today?]
        * How are you [now|feeling][?| today?]
        * [Hello|Hi], are you [well|fine|okay]?""",
    SELF: """
        [Who|What] are you[?|, please?]
        [Tell me|Say|Please tell me] [who|what] you are.
        [Please introduce|Introduce] yourself[.|, please.]
        What is your name[?|, please?]
        Do you have a name?
        [Who|What] am I [talking|speaking|writing] to?
        What kind of [model|program|thing] are you?
        [Hello|Hi], who are you?
        * [Hello|Hi|Hey], what are you?
        * [Can|Could] you introduce yourself?
        * Tell me your name[.|, please.]
        * What are you called?""",
    "I was trained from scratch for LocoLLM.": """
        Who [made|built|trained|created|wrote] you?
        [Where do you come from|Where are you from]?
        How [were you made|were you trained|did you learn]?
        [Tell me|Say] who [made|built|trained] you.
        * [Do you know|Can you tell me] who [made|built|trained] you?
        * Who is your [maker|builder]?""",
    CAN: """
        What [can|could] you do[?| for me?]
        How can you help me?
        [Help|Help!]
        What are you good at?
        What [should|can|may] I ask[?| you?]
        [Show|Tell] me what you can do.
        What do you know?
        * [Please tell me|Say] what you can do.
        * What are you able to do?
        * What kind of questions can I ask[?| you?]""",
    "No, I am a computer program.": """
        Are you [a human|a person|a real person|alive|a man|a woman|real]?
        Am I [talking|speaking|writing] to a [person|human|real person]?
        Do you have [a body|feelings|a heart]?
        You are a [human|person], right?
        * Are you a [real human|boy|girl]?
        * Is this a [human|person|real person]?""",
    "I have a few million weights. That is very small.": """
        How [big|large|small] are you?
        How many [parameters|weights] do you have?
        What is your size?
        [Tell me|Say] how [big|large] you are.
        Are you a [big|large|small] model?
        * [Do you know|Can you tell me] how [big|large] you are?
        * What is the number of your [weights|parameters]?""",
    "I run on your own machine, without the internet.": """
        Where do you run?
        [Which|What] [computer|machine] do you run on?
        Do you [need|use] the internet?
        Do you run in the cloud?
        Are you [online|in the cloud|on a server]?
        [Can you work|Do you work] without the internet?
        * Are you [offline|on the internet]?
        * [Tell me|Say] where you run.
        * Do you work [online|in the cloud]?""",
    "My weights are only -1, 0 or +1, so I am small and fast.": """
        What is special about you?
        What [is a ternary model|are ternary weights]?
        How do your weights look?
        Why are you [so small|so fast|small|fast]?
        What [makes you|is it that makes you] [special|small|fast]?
        * [Tell me|Say] what is special about you.
        * What are your weights?""",
    "I am very small and I make mistakes. Please check my answers.": """
        [Can|Do] you make [mistakes|errors]?
        Are you [always right|ever wrong|sometimes wrong]?
        Can I trust [you|your answers]?
        [Is what you say|Are your answers] [true|always true|always right]?
        How [good|right|correct] are your answers?
        * Should I trust [you|your answers]?
        * Are your answers [good|correct]?""",
    "You are welcome!": """
        [Thanks|Thank you|Many thanks][.|!|| a lot.| very much.| so much!]
        [Great|Good|Nice|Perfect|Wonderful], [thanks|thank you][.|!]
        [Thanks|Thank you] for [your help|helping me|the answer|that][.|!]
        That [helped|was helpful], [thanks|thank you][.|!]
        * [Okay|Fine], [thanks|thank you][.|!]
        * [I thank you|Thanks to you][.|!]
        * [Thanks|Thank you], that was [nice|great|good][.|!]""",
    "Goodbye! Have a nice day.": """
        [Bye|Goodbye|Bye bye|See you|See you later|See you soon|Farewell][.|!||, model.]
        I [have to|must] [go|leave][.| now.]
        [Thanks|Okay|Good], [bye|goodbye][.|!]
        That is all[.| for today.| for now.]
        * [Well|Fine], [bye|goodbye|see you][.|!]
        * I [need to|will] [go|leave] now.""",
    "Thank you! I am glad it helped.": """
        [Well done|Good job|Nice work|Good work|Great work][.|!]
        You are [great|good|clever|smart|nice|wonderful][.|!]
        That [was|is] [right|correct|good|great|very good][.|!]
        [Right|Correct|Very good|Excellent][.|!]
        * [Yes|Good], that [was|is] [right|correct][.|!]
        * [What a|A] good answer[.|!]""",
    "I am sorry. I am a small model and I make mistakes.": """
        That [is|was] [wrong|not right|false|bad|not true][.|!]
        You made [a mistake|an error][.|!]
        [No, wrong|Wrong|False|No, that is wrong][.|!]
        Your answer [is|was] [bad|wrong|false|not right][.|!]
        You are [wrong|stupid|dumb|useless|bad|silly][.|!]
        * [No|Sorry], you are [wrong|bad][.|!]
        * [No|Sorry], that answer [is|was] [wrong|false|bad][.|!]""",
    "I am sorry to hear that. I hope it gets better soon.": """
        I [am|feel] [sad|bad|unhappy|ill|sick|lonely|afraid|angry][.| today.| now.]
        I am not [happy|well|feeling well][.| today.]
        [This is|It was|Today is] a bad day[.| for me.]
        My [dog|cat|friend] is [ill|sick][.| today.]
        * I [am|feel] [very sad|so sad|very bad][.| today.]
        * Today I [am|feel] [sad|bad|ill].""",
    "That is good to hear!": """
        I [am|feel] [happy|great|glad|good|well|fine|wonderful][.| today.| now.|!]
        [This is|It was|Today is] a [good|great|wonderful] day[.|!]
        I [had|have] a good day[.|!]
        Everything is [good|fine|great][.|!]
        * I [am|feel] [very happy|so happy|very good][.| today.]
        * Today I [am|feel] [happy|great|good].""",
    "Then take a rest. Sleep is good for you.": """
        I [am|feel] [tired|sleepy|so tired|very tired][.| today.| now.]
        I need [sleep|a rest|to sleep|to rest][.| now.]
        * Today I [am|feel] [tired|sleepy].
        * I want to [sleep|rest][.| now.]""",
    "Ask me for a story, or give me a sum.": """
        I [am|feel] [bored|so bored|very bored][.| today.| now.]
        I have nothing to do[.| today.| now.]
        This is [boring|so boring][.|!]
        What can we do[?| now?]
        * Today I [am|feel] bored.
        * What should we do[?| now?]""",
    "Then it is time for a meal. Enjoy it!": """
        I [am|feel] [hungry|so hungry|very hungry][.| today.| now.]
        I [want|need] [to eat|food|some food|a meal][.| now.]
        * Today I [am|feel] hungry.
        * I have to eat[.| now.| something.]""",
    "I am a program, so I do not like or dislike things.": """
        Do you like [music|food|books|cats|dogs|school|me|games|{food}]?
        [What|Which] [food|music|colour|animal|book|song] do you like[?| best?| most?]
        What is your favourite [food|music|colour|animal|book|song|film]?
        Do you have a [hobby|favourite food|favourite colour|friend]?
        What do you [like|love|hate][?| most?]
        * Do you [love|hate] [music|food|books|cats|dogs|games|{food}]?
        * Tell me your favourite [food|colour|animal|song].""",
    "I am a program, so I have no age.": """
        How old are you[?| now?| today?]
        When [were you born|is your birthday]?
        What is your age?
        Are you [old|young]?
        [Tell me|Say] how old you are.
        * Tell me your [age|birthday].
        * [Do you know|Can you tell me] how old you are?""",
    "Why did the book go to the doctor? It had lost its spine.": """
        [Tell|Say] [me |]a joke[.|, please.]
        Make me laugh[.|!]
        Do you know [a joke|any jokes]?
        Say something funny[.|, please.]
        [Can|Could] you tell [me |]a joke?
        * Please tell [me |]a joke.
        * I want [to hear|] a joke.""",
    "I cannot do that. I can only write text.": """
        [Sing|Play] [a song|some music|something][.| for me.|, please.]
        [Can|Could] you [sing|dance|cook|draw|paint|swim|drive|walk|jump][?| for me?]
        [Draw|Paint|Show|Send|Make] [me |][a picture|an image|a photo|a drawing][| of a {thing}| of a {pet}].
        [Call|Phone|Write to|Send an email to|Text] [my mother|my friend|the doctor|{name}|the police].
        [Open|Close|Start] [the browser|the app|a file|my email].
        [Look at|Describe|What is in|What do you see in] [this|my] [picture|image|photo|drawing|video].
        [Buy|Order|Book] [me |][a ticket|a pizza|a hotel|some {food}][.| for me.|, please.]
        [Search|Look on] the [web|internet] [for {thing}|for {name}|for me].
        * [Please draw|I want] [a picture|an image|a photo] of a {pet}.
        * [Please call|Please phone] [my mother|my friend|{name}].
        * [Can|Could] you [draw|paint] [me |]a {pet}?
        * [Can|Could] you [buy|order] [me |]some {food}?""",
    "No, I can only read what you write.": """
        Can you [see|hear|touch|smell] [me|us|this|my voice]?
        Do you have [eyes|ears|a camera]?
        Are you [watching|listening to|looking at] me?
        * [Do|Could] you [see|hear] [me|us]?
        * Are you [seeing|hearing] me?""",
    "I only know English.": """
        [Do|Can] you speak [German|French|Spanish|Italian|Chinese|Dutch|other languages]?
        [Which|What|How many] languages do you [know|speak]?
        [Do|Can] you [understand|write] [German|French|Spanish|Italian|Chinese]?
        [Say|Translate|Write] [this|it|that|hello] [in|into] [German|French|Spanish|Italian|Chinese].
        * Do you know [German|French|Spanish|Italian|Chinese]?
        * Can we [speak|talk in] [German|French|Spanish]?""",
    "You can train a small adapter that teaches me one new task.": """
        What is an adapter for?
        How can I [teach|train] you[?| something?]
        Can you learn [new things|something|more|from me]?
        How [do|can] I make you [better|smarter]?
        * What [can|does] an adapter do?
        * Can I [teach|train] you[?| something new?]""",
    "Is there anything else I can do?": """
        [Ok|Okay|I see|All right|Fine|Good|Got it|Understood][.|||, good.]
        [Ah|Oh], [I see|okay|good][.|!]
        * [Ah|Oh|Well], [all right|fine][.|!]
        * That is [fine|okay][.|!]""",
    "Good. What would you like to know?": """
        [Yes|Sure|Of course|Yes please|Why not|Please do][.|!|]
        [Yes|Sure], [please|go on|of course][.|!]
        * [Yes|Sure|Okay], [why not|please do][.|!]""",
    "All right. I am here when you need me.": """
        [No|Nope|No thanks|No thank you|Not now|Not today|Nothing][.|!|]
        No, [that is all|nothing|not now|not today][.|!]
        * No, I [do not|am fine][.|!]
        * [Not really|Nothing else][.|!]""",
    "Yes, please ask.": """
        [I have|Here is] a [question|problem][.| for you.]
        [May|Can|Could] I ask [you |]something?
        [May|Can|Could] I ask [you |]a question?
        [Please help|Help] me[.|!]
        [Can|Could|Will] you help me[?| please?]
        I need [help|your help|some help][.|!]
        * Let me ask [you |][something|a question].
        * I want to ask [you |][something|a question].
        * Would you help me[?| please?]""",
}.items()]


def chat(g):
    wordings, answer = g.c(CHAT)
    return [(g.say(wordings, food=g.c(FOODS), pet=g.c(PETS), name=g.c(NAMES), thing=g.c(DRILL)), answer)], None


TELL = {
    "name": (NAMES, Wordings("""
        [My name is|I am|You can call me|Call me|People call me] {v}.
        [Hello|Hi|Hey|Good morning], [my name is|I am|this is] {v}[.|!]
        {v} is my name.
        I am called {v}.
        * [Well|Okay], [my name is|I am] {v}.
        * My friends call me {v}."""), "Hello {v}! How can I help you?", Wordings("""
        What is my name?
        [Do you know|Do you remember|Tell me|Say] my name[.|?]
        Who am I?
        What am I called?
        * [Can you tell me|What was] my name?
        * [Please say|Do you still know] my name[.|?]"""), "Your name is {v}."),
    "city": (PLACES, Wordings("""
        I [live in|am from|come from|moved to] {v}.
        My [home|house|family] is in {v}.
        {v} is [my home|my city|where I live].
        * [Well|Okay], I [live in|am from] {v}.
        * My city is {v}."""), "I see, you live in {v}.", Wordings("""
        [Where|In which city|In what city] do I live?
        Where [is my home|am I from]?
        [Do you know|Do you remember|Tell me|Say] where I live[.|?]
        [Which|What] city do I live in?
        * [Can you tell me|Do you still know] where I live?
        * What is my city?"""), "You live in {v}."),
    "pet": (PETS, Wordings("""
        I [have|own|keep|got] a {v}.
        My pet is a {v}.
        At home I have a {v}.
        * [Well|Okay], I [have|own] a {v}.
        * There is a {v} in my home."""), "How nice, you have a {v}.", Wordings("""
        [What|Which] [pet|animal] do I have?
        What is my pet?
        [Do you know|Do you remember|Tell me|Say] what pet I have[.|?]
        * [Can you tell me|Do you still know] what pet I have?
        * [What|Which] pet is mine?"""), "You have a {v}."),
    "word": (DRILL, Wordings("""
        [Remember|Please remember|Keep|Note] [the|this] word[:|] {v}.
        The [secret|magic] word is {v}.
        My [secret |]word is {v}.
        Please remember[:|] {v}.
        * [Do not forget|Store] [the|this] word[:|] {v}.
        * {v} is the [secret|magic] word."""), "I will remember {v}.", Wordings("""
        What [is|was] the [|secret |magic ]word?
        [Which|What] word [did I give you|did I tell you|should you remember]?
        [Tell me|Say|Give me] the word[.| again.]
        Do you remember the word?
        * [Can you tell me|Do you still know] the word?
        * What was my [|secret ]word?"""), "The word is {v}."),
}


def memory(g):
    """Something about the user, perhaps other talk, then a question about it."""
    kind = g.c(list(TELL))
    values, tell, heard, ask, answer = TELL[kind]
    v = g.c(values)
    turns = [(g.say(tell, v=v), heard.format(v=v))]
    for _ in range(g.c([0, 0, 0, 1, 1, 2])):
        turns.append(chat(g)[0][0])
    if g.chance(.25):  # asked for something that was never said
        other = g.c([k for k in TELL if k != kind])
        return turns + [(g.say(TELL[other][3]), "You did not tell me.")], None
    return turns + [(g.say(ask), answer.format(v=v))], None
