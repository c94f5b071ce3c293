"""The text that the bundled model is trained and measured on: small tasks whose answers a rule decides.

Everything is drawn from a `random.Random`, so a seed fixes it, and nothing comes from outside this file. An example
is held out when the hash of its key falls in the reserved tenth; the key is what has to be worked out (the two addends,
the set of words to sort) without the wording, so that no training example is a held-out one in other words.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

WORDS = (
    "almond ant apple arrow badger bag banana barrel basket bean bear bed bee beetle bell belt berry bird blanket "
    "boat bone book bottle bowl box branch bread bridge broom brush bucket bus butter button cake camel candle cap "
    "car card carpet carrot castle cat cave chain chair chalk cheese cherry circle clay clock cloud coat coffee "
    "coin comb corn cow crab crane cream crow crown cup curtain daisy deer desk dish dog dolphin donkey door dragon "
    "dream drum duck dust eagle ear egg elephant engine eye face fan farm feather fence field fig finger fire fish "
    "flag flour flower fly foot forest fork fox frog fruit game gate ghost giraffe glass glove glue goat gold grain "
    "grape grass guitar hammer hand hat heart hen hill hole honey hook horse house ice ink iron island jacket jar "
    "jewel juice key king kite kitten kiwi knife knot ladder lake lamb lamp leaf lemon letter lime lion lizard lock "
    "mango map mask meat melon milk mint mirror monkey moon mountain mouse mud nail needle nest net night nut oak "
    "ocean olive onion orange orchid otter owl paint paper parrot path pea peach pear pen pencil penguin pepper "
    "phone photo piano pig pillow pine pipe planet plant plate plum pocket pond pot potato pumpkin puppy queen "
    "quilt rabbit radio rain rat raven ribbon rice ring river road robin rocket roof root rope rose rug saddle sail "
    "salt sand scarf school seed shark sheep shelf shell ship shirt shoe shoulder silver skirt sky snail snow soap "
    "sock song soup spider spoon squirrel star stick stone stool storm straw street sugar sun swan swing table tea "
    "tent tiger tomato tooth towel tower toy train tree truck trumpet tulip turtle valley vase vest violin wagon "
    "wall wasp watch water wave web whale wheat wheel willow window wine wing wolf wood worm yarn yogurt zebra zoo"
).split()
PEOPLE = "Ada Ben Cleo Dan Ella Finn Gus Hana Ivy Jack Kim Leo Mia Noah Olga Paul Rosa Sam Tess Vera".split()
THINGS = "ball key map hat drum kite lamp coin ring scarf book cup bell rope shell".split()
PLACES = "garden kitchen attic cellar barn library tower forest harbour market".split()
COLOURS = "red blue green yellow black white brown purple".split()
SYLLABLES = (
    "ba be bo ca cor da del do el en fa fi gar go hu il jo ka kel la lin lo ma mer mi na no or pa per qua ra ri sa "
    "sel ta ti tor u va vi wen xo ya zu"
).split()

WHO = "I am a very small model that shows what jaxpaged does."
ABLE = (
    "I can add two numbers, sort, reverse, repeat or count words, count up, and answer questions about a short story."
)
EXAMPLE = "Try: Sort these words: pear apple fig"
UNKNOWN = "Sorry, I only know small sums, lists of words, counting and short stories."
SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a friendly assistant. Answer briefly.",
    "Be kind and concise.",
    "You are jaxpaged, a small demo model.",
)


@dataclass(frozen=True, slots=True)
class Example:
    """One question and its only right answer. `key` names the problem, whatever its wording."""

    task: str
    question: str
    answer: str
    key: str

    @property
    def held_out(self) -> bool:
        return zlib.crc32(f"{self.task}:{self.key}".encode()) % 10 == 0


def some_words(rng: Random, least: int = 2, most: int = 6) -> list[str]:
    return rng.sample(WORDS, rng.randint(least, most))


def any_words(rng: Random, least: int, most: int) -> list[str]:
    """Words of which some are invented, for the tasks that need no knowledge of the words."""
    return [invented_word(rng) if rng.random() < 0.15 else word for word in some_words(rng, least, most)]


def invented_word(rng: Random) -> str:
    return "".join(rng.choices(SYLLABLES, k=rng.randint(2, 3)))


def listed(rng: Random, words: list[str]) -> str:
    return rng.choice([" ", ", "]).join(words)


def add(rng: Random) -> Example:
    a, b = (rng.randrange(10 ** rng.choice([1, 2, 2, 3])) for _ in range(2))
    wording = rng.choice(
        [
            "What is {} + {}?",
            "What is {}+{}?",
            "{} + {}",
            "{} + {} =",
            "{}+{}",
            "Add {} and {}.",
            "How much is {} plus {}?",
            "What is the sum of {} and {}?",
        ]
    )
    return Example("add", wording.format(a, b), f"{a} + {b} = {a + b}", f"{min(a, b)} {max(a, b)}")


def sort(rng: Random) -> Example:
    words = some_words(rng)
    wording = rng.choice(
        ["Sort these words: {}", "Sort: {}", "Put these words in alphabetical order: {}", "Please sort {}"]
    )
    ordered = " ".join(sorted(words))
    return Example("sort", wording.format(listed(rng, words)), f"Sorted: {ordered}", ordered)


def reverse(rng: Random) -> Example:
    words = any_words(rng, 2, 6)
    wording = rng.choice(
        ["Reverse these words: {}", "Reverse: {}", "Say these words backwards: {}", "Please reverse {}"]
    )
    return Example(
        "reverse", wording.format(listed(rng, words)), f"Reversed: {' '.join(reversed(words))}", " ".join(words)
    )


def repeat(rng: Random) -> Example:
    words = any_words(rng, 2, 8)
    wording = rng.choice(["Repeat after me: {}", "Repeat: {}", "Copy these words: {}", "Please repeat {}"])
    return Example("repeat", wording.format(listed(rng, words)), f"You said: {' '.join(words)}", " ".join(words))


def count_words(rng: Random) -> Example:
    words = any_words(rng, 1, 9)
    wording = rng.choice(["How many words are these: {}", "Count these words: {}", "How many words: {}"])
    answer = f"{len(words)} word{'s' * (len(words) > 1)}"
    return Example("count words", wording.format(listed(rng, words)), answer, " ".join(words))


def count_up(rng: Random) -> Example:
    first = rng.randint(0, 90)
    last = first + rng.randint(2, 9)
    wording = rng.choice(["Count from {} to {}.", "Count up from {} to {}", "Please count from {} to {}."])
    return Example(
        "count up", wording.format(first, last), " ".join(str(n) for n in range(first, last + 1)), f"{first} {last}"
    )


def story(rng: Random) -> Example:
    """Two to four sentences about two people and two things; what was said last about someone or something holds."""
    people, things = rng.sample(PEOPLE, 2), rng.sample(THINGS, 2)
    answers: dict[str, str] = {}
    owner: dict[str, str] = {}
    sentences = []
    for _ in range(rng.randint(2, 4)):
        thing, place, colour = rng.choice(things), rng.choice(PLACES), rng.choice(COLOURS)
        person = owner.get(thing, rng.choice(people))
        match rng.choice(["go", "put", "give", "paint"]):
            case "go":
                sentences.append(f"{person} went to the {place}.")
                answers[f"Where is {person}?"] = f"{person} is in the {place}."
            case "put":
                sentences.append(f"{person} put the {thing} in the {place}.")
                answers[f"Where is the {thing}?"] = f"The {thing} is in the {place}."
                answers.pop(f"Who has the {thing}?", None)
                owner.pop(thing, None)
            case "give":
                owner[thing] = people[person == people[0]]
                sentences.append(f"{person} gave the {thing} to {owner[thing]}.")
                answers[f"Who has the {thing}?"] = f"{owner[thing]} has the {thing}."
                answers.pop(f"Where is the {thing}?", None)
            case "paint":
                sentences.append(f"{person} painted the {thing} {colour}.")
                answers[f"What colour is the {thing}?"] = f"The {thing} is {colour}."
    question = rng.choice(sorted(answers))
    text = f"{rng.choice(['', 'Read this story: ', 'Story: '])}{' '.join(sentences)} {question}"
    return Example("story", text, answers[question], " ".join([*sentences, question]))


def greet(rng: Random) -> Example:
    """A name, often an invented one, is greeted."""
    name = rng.choice([rng.choice(PEOPLE), invented_word(rng).capitalize()])
    hello = rng.choice(["Hello", "Hi", "Hey", "Good morning", "Good evening", "Hello there"])
    wording = rng.choice(["{}, I am {}.", "{}! My name is {}.", "{}, my name is {}!", "{}, I'm {}"])
    return Example(
        "greet",
        wording.format(hello, name),
        f"Hello {name}, nice to meet you! What can I do for you?",
        f"{hello} {name}",
    )


SMALL_TALK = (
    ("Hello|Hi|Hey|Hello there|Hi there|Good morning|Good evening|Good day|Greetings", "Hello! " + ABLE),
    (
        "How are you|How are you today|How do you do|Hello, how are you|Hi, how are you|How is it going",
        "I am fine, thank you! What can I do for you?",
    ),
    (
        "Who are you|What are you|What is your name|Tell me about yourself|Introduce yourself|Are you a model"
        "|Are you human|Are you a robot|Who is this",
        f"{WHO} {ABLE}",
    ),
    (
        "What can you do|What do you know|Help|Help me|What can you do for me|What are your skills|What can I ask"
        "|What can I ask you|How can you help me|Can you help me|What should I ask",
        f"{ABLE} {EXAMPLE}",
    ),
    ("Thanks|Thank you|Thank you very much|Many thanks|Great, thanks|Thanks a lot", "You are welcome!"),
    ("Bye|Goodbye|See you|See you later|Good night|Bye bye", "Goodbye!"),
    (
        "Well done|Great|Good|Very good|Nice|Cool|Wow|Perfect|That is right|Correct",
        "Thank you! What else can I do for you?",
    ),
    (
        "Who made you|Who trained you|How were you made|Where do you come from",
        "A script of jaxpaged trained me on text that it made up.",
    ),
    (
        "What is jaxpaged|Tell me about jaxpaged|What does jaxpaged do",
        "jaxpaged serves language models, written in pure JAX.",
    ),
    ("What time is it|What day is today|Tell me a joke|What is the meaning of life", UNKNOWN),
)


def small_talk(rng: Random) -> Example:
    questions, answer = rng.choice(SMALL_TALK)
    question = rng.choice(questions.split("|"))
    words = question + rng.choice(["", "", "!", ".", "?", "?"])
    return Example("small talk", rng.choice([words, words, words.lower()]), answer, words)


STRANGE = (
    "What is the capital of {a}?|Who wrote {a}?|Tell me about {a}.|Explain {a}.|What is {a}?"
    "|Write a poem about {a}.|Where is {a}?|Who is {a}?|Translate {a} to {b}.|How do I cook {a}?"
    "|When was {a} born?|Why is {a} {b}?|What does {a} mean?|How far is {a} from {b}?|Do you like {a}?"
    "|What is the weather in {a}?|How old is {a}?|Can you {a}?|Write code for {a}.|Who won the {a}?"
    "|Is {a} better than {b}?"
    "|{a}|{a} {b}|{a} {b}?|What is the best {a}?|How many {a} are there?|Give me {a}.|I want {a}.|I like {a}."
    "|Which {a} is the {b}?|Make {a}.|Play {a}.|Sing a song about {a}.|Draw a {a}.|Summarize {a}."
    "|What happened in {a}?|How does {a} work?"
).split("|")
TOPICS = (
    "France|Germany|the sun|the sea|music|physics|history|love|football|the president|a computer|Python|London"
    "|Paris|chess|money|the world|art|war|peace|school|the brain|time|space|cars|a recipe|soup|rice|pasta"
    "|happiness|JAX|machine learning|the weather|Spanish|French|English|politics|news"
).split("|")


def unknown(rng: Random) -> Example:
    """Anything else, half of it invented words, is answered politely."""
    a, b = (
        rng.choice([invented_word(rng), invented_word(rng).capitalize(), rng.choice(TOPICS), rng.choice(WORDS)])
        for _ in range(2)
    )
    question = rng.choice(STRANGE).format(a=a, b=b)
    return Example(
        "unknown", rng.choice([question, question, question.lower(), question.rstrip(".?")]), UNKNOWN, question
    )


Task = Callable[[Random], Example]
# The tasks with their share of the training examples.
TASKS: dict[Task, int] = {
    add: 5,
    sort: 4,
    reverse: 3,
    repeat: 1,
    count_words: 2,
    count_up: 1,
    story: 9,
    greet: 1,
    small_talk: 1,
    unknown: 2,
}
NEVER_HELD_OUT = {small_talk}  # a few dozen sentences: nothing to generalise to


def draw(rng: Random, task: Task, *, held_out: bool) -> Example:
    """One example of the task, from the training side or from the held-out side of the split."""
    while True:
        example = task(rng)
        if task in NEVER_HELD_OUT or example.held_out == held_out:
            question = example.question
            casual = question[0].lower() + question[1:]
            return replace(example, question=rng.choices([question, casual], [4, 1])[0])


def conversation(rng: Random, turns: int) -> tuple[str, list[Example]]:
    """A system prompt (often none: "") and that many training examples of mixed tasks."""
    tasks = rng.choices(list(TASKS), weights=list(TASKS.values()), k=turns)
    system = rng.choice(SYSTEM_PROMPTS) if rng.random() < 0.15 else ""
    return system, [draw(rng, task, held_out=False) for task in tasks]
