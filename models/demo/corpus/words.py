"""Word lists: names, things, and the long list that the drills draw from."""
from pathlib import Path

NAMES = """Tom Anna Ravi Mia Omar Lena Kofi Sara Ben Yuki Ivan Rosa Dina Paul Nina Jack Aisha Luis Emma Hugo Eva Max Zoe Leo Amir
Ida Noah Ella Sam Lily Adam Ruth Carl Maya Finn Olga Peter Clara Hassan Grace Nora Felix Tara Jonas Lucia Theo Amina Oscar Vera Milo""".split()
THINGS = """apples books coins eggs shells cards pens stamps seeds bottles marbles cups stones tickets boxes pears hats keys balls
plates nuts spoons flowers cookies stickers buttons lamps bricks chairs pencils""".split()
PLACES = """Oslo Lima Cairo Paris Delhi Kyoto Accra Quito Dublin Rome Nairobi Hanoi Madrid Berlin Athens Boston Sydney Lisbon
Vienna Prague Tunis Dakar Bern Riga""".split()
JOBS = "farmer nurse teacher driver baker painter doctor pilot singer judge cook sailor writer builder gardener dancer".split()
PETS = "cat dog parrot horse goat rabbit turtle duck hamster snake fish pony".split()
FOODS = "rice soup bread mango fish salad cheese noodles cake beans pasta honey".split()
COLOURS = "red blue green yellow black white brown pink orange purple grey".split()
HOBBIES = "chess football tennis swimming dancing reading painting singing cooking running".split()
INSTRUMENTS = "piano violin guitar drum flute trumpet harp cello".split()
ROOMS = "kitchen,bedroom,garage,hall,office,bathroom,garden,attic,living room,cellar".split(",")
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
NUMBERS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
eighteen nineteen twenty""".split()

# The commonest words of five children's books in the public domain (see the model card).
DRILL = (Path(__file__).parent / "words.txt").read_text().split()

_HEADS = "b br d dr f fl g gr k kl l m n p pl qu r s sk t tr v w z zh".split()
_TAILS = "a o u an or ul im esh und ark ip ost eb".split()
_ENDS = ["", "ia", "land", "ville", "ton", "o", "us", "ra", "x", "ek", "ish", "on"]


def made_up(g):
    """A word that means nothing: the world is full of names that nobody knows."""
    word = g.c(_HEADS) + g.c("aeiou") + g.c(["", "", "n", "l", "r"])
    if g.chance(.7):
        word += g.c(_HEADS) + g.c(_TAILS)
    return word + g.c(_ENDS)


def made_up_name(g):
    return made_up(g).capitalize()
