"""Spoken commands of a home and the actions they mean, with slots."""
from .core import Wordings
from .words import FOODS, ROOMS

MUSIC = ["jazz", "rock", "news", "piano", "folk", "pop"]
INTENTS = {name: (Wordings(text), action) for name, action, text in (
    ("light_on", "light_on room={s}", """
        [turn on|switch on|put on] the [{r} light|light in the {r}|lights in the {r}|lamp in the {r}]
        turn the [{r} light|light in the {r}|lamp in the {r}] on
        switch the [{r} light|light in the {r}] on
        make it [bright|light] in the {r}
        [lights|light] on in the {r}
        I [need|want] [|some ]light in the {r}
        [it is|it's] too dark in the {r}
        * [light|bright light] for the {r}
        * the {r} [needs light|is too dark]
        * I cannot see in the {r}, [turn on|switch on] the light"""),
    ("light_off", "light_off room={s}", """
        [turn off|switch off|put out] the [{r} light|light in the {r}|lights in the {r}|lamp in the {r}]
        turn the [{r} light|light in the {r}|lamp in the {r}] off
        switch the [{r} light|light in the {r}] off
        [kill|stop] the light[|s] in the {r}
        make [the {r}|it] dark[| in the {r}]
        [lights|light] off in the {r}
        no [more |]light in the {r}
        * [it is|it's] too bright in the {r}
        * the {r} light should be off
        * I want it dark in the {r}"""),
    ("set_temp", "set_temp room={s} value={n}", """
        set the {r} to {n}[| degrees]
        [heat|warm] the {r} [up |]to {n}[| degrees]
        I want {n} degrees in the {r}
        make [the {r} {n} degrees warm|it {n} degrees in the {r}]
        [temperature|heating] in the {r} to {n}[| degrees]
        * the {r} should [be|have] {n} degrees
        * set the temperature in the {r} to {n}"""),
    ("timer", "timer minutes={n}", """
        wake me [up |]in {n} minutes
        [set|start] a timer for {n} minutes
        remind me [after|in] {n} minutes
        start a countdown of {n} minutes
        {n} minutes[| timer| on the timer]
        tell me when {n} minutes are over
        * [timer|countdown] for {n} minutes
        * [set|start] the clock for {n} minutes
        * call me in {n} minutes"""),
    ("window_open", "window_open room={s}", """
        open the [{r} window|window in the {r}|window of the {r}|windows in the {r}]
        let [some|fresh] air into the {r}
        [the {r} needs|I want|I need] fresh air[| in the {r}]
        [windows|window] open in the {r}
        * the {r} window should be open
        * I want the {r} window open"""),
    ("window_close", "window_close room={s}", """
        [close|shut] the [{r} window|window in the {r}|window of the {r}|windows in the {r}]
        the {r} window should be [closed|shut]
        [windows|window] [closed|shut] in the {r}
        no more fresh air in the {r}
        * I want the {r} window [closed|shut]
        * [it is too windy|too much air] in the {r}, [close|shut] the window"""),
    ("get_temp", "get_temp room={s}", """
        how [warm|cold|hot] is [the {r}|it in the {r}]
        what is the temperature [in|of] the {r}
        is it [cold|warm|hot] in the {r}
        tell me the [{r} temperature|temperature in the {r}|temperature of the {r}]
        [read|check] the temperature in the {r}
        * how many degrees [are there |]in the {r}
        * is the {r} [cold|warm|hot]"""),
    ("play", "play genre={g} room={s}", """
        [play|put on|start] [|some ]{g} in the {r}
        I want [to hear |]{g} in the {r}
        start {g} music in the {r}
        [some |]{g} [for|in] the {r}[|, please]
        let me hear {g} in the {r}
        * I would like {g} in the {r}
        * the {r} needs [|some ]{g}"""),
    ("volume", "volume value={n}", """
        [set|turn] the [volume|sound|music] to {n}[| percent]
        volume [|to |at ]{n}[| percent]
        make the [sound|volume|music] {n}[| percent]
        [change|put] the [loudness|volume] to {n}[| percent]
        * I want the [volume|sound] at {n}[| percent]
        * [loudness|sound] to {n}[| percent]"""),
    ("list_add", "list_add item={i}", """
        [add|put|write] {i} [to|on] [the|my] [shopping |]list
        we [need to buy|need|are out of] {i}
        [buy|get] [|some |more ]{i}
        I need [to buy |more ]{i}
        there is no [more |]{i}[| left]
        * {i} [goes|should go] on the [shopping |]list
        * do not forget [|to buy ]{i}"""),
)}
# For adapters to learn: seldom in training.
SCARCE = {name: (Wordings(text), action) for name, action, text in (
    ("door_lock", "door_lock", """
        lock the [front |]door
        the [front |]door should be locked
        * [please |]close and lock the door"""),
    ("door_unlock", "door_unlock", """
        unlock the [front |]door
        let [the guests|my friend] in
        * the [front |]door should be unlocked"""),
    ("alarm", "alarm hour={h}", """
        wake me [up |]at {h}[| o'clock]
        set [an|the] alarm for {h}[| o'clock]
        * I want to get up at {h}"""),
    ("blind_down", "blind_down room={s}", """
        [lower|close] the [blinds|blind] in the {r}
        blinds down in the {r}
        * I want the blinds down in the {r}"""),
)}
FRAME = Wordings("""
    {q}
    {q}[.|!]
    Command: {q}
    [Do this|Action|Order]: {q}
    [please|could you|can you|hey,|now] {q}
    Command: [please|could you|can you|hey,] {q}
    {q}[ please|, please|, thanks| now]
    * [Please do this|A command]: {q}
    * [okay,|would you|and now] {q}""")


def command(g):
    wordings, action = g.c(list((SCARCE if g.chance(g.scarce) else INTENTS).values()))
    room = g.c(ROOMS)
    slots = dict(r=room, s=room.replace(" ", "_"), n=g.n(1, 59), g=g.c(MUSIC), i=g.c(FOODS), h=g.n(1, 12))
    known, g.held = g.held, g.held and g.chance(.3)
    frame = g.raw(FRAME, q="{q}")
    g.held = known
    return [(frame.format(q=g.raw(wordings, **slots)), action.format(**slots))], None
