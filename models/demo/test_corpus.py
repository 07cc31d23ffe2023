"""What the generator promises. Run: python -m unittest test_corpus (needs nothing but Python)."""
import re
import unittest

from corpus import commands, drills, facts, lists, mix, numbers, reading, story, talk, unknown
from corpus.core import SPLITS, Gen, Wordings, normal, split_of


def wordings_of(skill):
    """All `Wordings` that a skill draws its questions from."""
    tables = {
        "chat": [w for w, _ in talk.CHAT], "unknown": unknown.QUESTIONS, "fact": list(facts.ASK.values()),
        "arithmetic": [numbers.SUM],
        "word_problem": [*numbers.ONE_STEP.values(), *numbers.TWO_STEP.values(), *numbers.SCARCE_STEPS.values()],
        "units": [numbers.CONVERT, numbers.LATER, numbers.COST, numbers.CHANGE, numbers.DAY, numbers.BIGGER, numbers.WHO],
        "reading": [reading.FRAME, reading.NEVER] + [w for f in reading.FIELDS.values() for w in (f.ask, f.who)],
        "memory": [w for t in talk.TELL.values() for w in (t[1], t[3])],
        "command": [w for w, _ in commands.INTENTS.values()],
        "drill": [drills.COPY, drills.REVERSE, drills.COUNT, drills.LOOKUP, drills.NTH, drills.NEXT, drills.MEMBER, drills.COMMON],
        "lists": [lists.UP, lists.DOWN, lists.MOST, lists.TIMES, lists.LONGER],
    }
    return tables[skill]


def texts(skill, split, held=False, n=400, working=True):
    g = Gen(f"test-{skill}-{split}", split, held)
    g.working = working
    return [g.item(mix.SKILLS[skill]) for _ in range(n)]


def user_text(turns):
    return normal(" / ".join(u for u, _ in turns))


class Splits(unittest.TestCase):
    def test_no_problem_is_in_two_splits(self):
        for skill in mix.SKILLS:
            seen = {s: {user_text(t) for t in texts(skill, s)} for s in SPLITS}
            if skill == "story":  # stories differ in their text, not in what is asked for
                seen = {s: {user_text(t) + t[0][1] for t in texts(skill, s)} for s in SPLITS}
            self.assertFalse(seen["train"] & seen["test"], skill)
            self.assertFalse(seen["train"] & seen["dev"], skill)
            self.assertFalse(seen["dev"] & seen["test"], skill)

    def test_a_sum_is_in_one_split_whatever_its_wording(self):
        pairs = {s: set() for s in SPLITS}
        for s in SPLITS:
            for skill in ("arithmetic", "word_problem"):
                for turns in texts(skill, s, n=1500, working=False):
                    pairs[s] |= {m for m in re.findall(r"^\d+[+-]\d+(?==)", turns[0][1])}
        for s in SPLITS:
            self.assertTrue(all(split_of(p) == s for p in pairs[s]))

    def test_held_out_wordings_never_occur_in_training(self):
        for skill in (f.__name__ for f in mix.TAUGHT):
            for w in wordings_of(skill):
                known, held = ({normal(x) for x in w.all(h)} for h in (False, True))
                self.assertFalse(known & held, skill)

    def test_the_same_seed_gives_the_same_text(self):
        for skill in mix.SKILLS:
            self.assertEqual(texts(skill, "train", n=5), texts(skill, "train", n=5))


class Breadth(unittest.TestCase):
    def test_every_taught_skill_has_thirty_known_wordings_and_some_held_out(self):
        for skill in (f.__name__ for f in mix.TAUGHT):
            known = {x for w in wordings_of(skill) for x in w.all(False)}
            held = {x for w in wordings_of(skill) for x in w.all(True)}
            self.assertGreaterEqual(len(known), 30, skill)
            self.assertGreaterEqual(len(held), 5, skill)

    def test_half_of_the_reading_questions_have_no_answer(self):
        answers = [a for t in texts("reading", "train", n=1000) for _, a in t]
        share = sum(a == reading.MISSING for a in answers) / len(answers)
        self.assertTrue(.45 < share < .55, share)

    def test_three_skills_are_held_back_below_one_percent(self):
        self.assertLess(sum(mix.WEIGHTS[f] for f in mix.HELD_BACK) / sum(mix.WEIGHTS.values()), .01)

    def test_what_a_lookup_answers_stands_in_its_table(self):
        for turns in texts("drill", "train", n=1500):
            q, a = turns[0]
            m = re.fullmatch(r"([\w=, ]+)\. What is (\w+)\?", q)
            if m and "not in the list" not in a:
                self.assertIn(a.removeprefix("Found: "), m.group(1).split(", "))


class Working(unittest.TestCase):
    def test_digits_are_shown_with_carry_and_borrow(self):
        g = Gen()
        self.assertEqual(numbers.shown(g, 27, "+", 45), "7+5=12, 2+4+1=7. 27+45=72")
        self.assertEqual(numbers.shown(g, 58, "+", 51), "8+1=9, 5+5=10. 58+51=109")
        self.assertEqual(numbers.shown(g, 23, "-", 9), "13-9=4, 2-0-1=1. 23-9=14")
        self.assertEqual(numbers.shown(g, 87, "-", 76), "7-6=1, 8-7=1. 87-76=11")
        self.assertEqual(numbers.shown(g, 4, "+", 9), "4+9=13")
        self.assertEqual(numbers.shown(g, 12, "*", 9), "12*9=108")

    def test_every_step_of_a_shown_sum_is_right(self):
        for turns in texts("word_problem", "train", n=500) + texts("arithmetic", "train", n=500):
            for left, right in re.findall(r"([\d+*/-]+)=(\d+)", turns[0][1]):
                self.assertEqual(eval(left.replace("/", "//")), int(right), turns)


class Notation(unittest.TestCase):
    def test_a_line_stands_for_all_its_choices(self):
        self.assertEqual(Wordings.expand("[a|b] c[|!]"), ["a c", "a c!", "b c", "b c!"])

    def test_normal_text_ignores_case_and_final_marks(self):
        self.assertEqual(normal("What is 12 plus 3?"), normal("what is 12 plus 3"))


if __name__ == "__main__":
    unittest.main()
