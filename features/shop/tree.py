"""The shop's shelves: a tree of categories, which of them hold consumables, and which go together."""

from __future__ import annotations

_TREE = {
    "grocery": {
        "drinks": "coffee tea juice wine",
        "pantry": "pasta spices chocolate snacks",
        "baking": "flour muffin-cups cake-pans mixers",
    },
    "household": {
        "cleaning": "detergent dish-soap sponges",
        "paper": "kitchen-rolls tissues",
        "laundry": "softener laundry-baskets",
    },
    "beauty": {
        "skin": "day-cream sunscreen",
        "hair": "shampoo hair-dryers",
        "make-up": "lipstick brushes",
    },
    "pets": {
        "dogs": "dog-food leashes",
        "cats": "cat-food scratching-posts",
    },
    "fashion": {
        "outerwear": "jackets hats gloves",
        "basics": "t-shirts socks jeans",
        "shoes": "sneakers boots",
    },
    "sports": {
        "running": "running-shoes running-shirts",
        "camping": "tents sleeping-bags stoves",
        "cycling": "helmets bike-lights",
    },
    "home": {
        "kitchen": "pans knives kettles",
        "living": "lamps cushions candles",
        "garden": "seeds flower-pots hoses",
    },
    "electronics": {
        "audio": "headphones speakers",
        "computing": "laptops mice laptop-bags",
        "gaming": "consoles games",
    },
    "family": {
        "baby": "nappies baby-food",
        "toys": "building-bricks dolls puzzles",
        "books": "novels picture-books cookbooks",
    },
    "health": {
        "remedies": "vitamins plasters",
        "weight-loss": "shakes",
    },
}

#: Every leaf as a path "top/sub/leaf".
LEAVES: tuple[str, ...] = tuple(
    f"{top}/{sub}/{leaf}" for top, subs in _TREE.items() for sub, leaves in subs.items() for leaf in leaves.split()
)

#: What a customer calls each leaf.
WORDS: tuple[str, ...] = tuple(path.rsplit("/", 1)[1].replace("-", " ") for path in LEAVES)

_CONSUMABLE_SUBS = ("drinks", "pantry", "cleaning", "paper", "skin", "baby", "remedies")
_CONSUMABLE_LEAVES = ("flour", "muffin-cups", "softener", "shampoo", "dog-food", "cat-food", "candles", "shakes")

#: Leaves whose items are used up and bought again.
CONSUMABLE: tuple[bool, ...] = tuple(
    path.split("/")[1] in _CONSUMABLE_SUBS or path.split("/")[2] in _CONSUMABLE_LEAVES for path in LEAVES
)

#: Leaves that are bought together, each group in the order in which needs tend to arise.
_TOGETHER = (
    "cake-pans muffin-cups mixers cookbooks",
    "coffee kettles",
    "tea kettles",
    "wine chocolate",
    "pasta spices",
    "detergent softener laundry-baskets",
    "dish-soap sponges",
    "kitchen-rolls tissues",
    "shampoo hair-dryers",
    "lipstick brushes",
    "day-cream sunscreen",
    "dog-food leashes",
    "cat-food scratching-posts",
    "jackets hats gloves",
    "jeans t-shirts socks",
    "running-shoes running-shirts socks",
    "tents sleeping-bags stoves",
    "helmets bike-lights",
    "pans knives",
    "lamps cushions candles",
    "seeds flower-pots hoses",
    "laptops mice laptop-bags headphones",
    "consoles games",
    "nappies baby-food picture-books",
    "building-bricks puzzles",
    "vitamins shakes",
)


def complements() -> tuple[tuple[int, ...], ...]:
    """For each leaf the leaves that complement it, as positions in ``LEAVES``; the relation is symmetric."""
    position = {path.rsplit("/", 1)[1]: leaf for leaf, path in enumerate(LEAVES)}
    linked: list[dict[int, None]] = [{} for _ in LEAVES]
    for words in _TOGETHER:
        group = [position[word] for word in words.split()]
        for leaf in group:
            linked[leaf].update(dict.fromkeys(other for other in group if other != leaf))
    return tuple(tuple(sorted(others)) for others in linked)
