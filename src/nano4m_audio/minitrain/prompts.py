"""The texts that the scorer is trained on: templates, other words for each class, and texts about
nothing."""

from __future__ import annotations

import torch

TEMPLATES = (
    "a photo of a {}",
    "a photo of a {}",
    "a photo of the {}",
    "a picture of a {}",
    "an image of a {}",
    "a {}",
    "{}",
    "the {}",
    "one {} in a meadow",
    "a {} on a farm",
    "a {} standing in the grass",
    "a video frame of a {}",
    "a {} in front of a barn",
    "two of the same {} outdoors",
    "a close-up photo of a {}",
    "a blurry photo of a {}",
    "this is a {}",
    "a low resolution photo of a {} walking",
    "a {} making a sound",
)

SYNONYMS = {
    "pig": ("pig", "pigs", "hog", "piglet", "swine", "pig oinking"),
    "sheep": ("sheep", "lamb", "ewe", "ram", "sheep bleating"),
    "dog": ("dog", "dogs", "puppy", "hound", "dog barking"),
    "cat": ("cat", "cats", "kitten", "cat meowing"),
    "horse": ("horse", "horses", "pony", "mare", "stallion", "horse neighing"),
    "cow": ("cow", "cows", "cattle", "bull", "calf", "cow mooing"),
    "chicken": ("chicken", "chickens", "hen", "rooster", "chicken clucking"),
    "duck": ("duck", "ducks", "mallard", "duck quacking"),
    "pigeon": ("pigeon", "pigeons", "dove", "pigeon cooing"),
    "coyote": ("coyote", "coyotes", "coyote howling"),
    "lion": ("lion", "lions", "lion roaring"),
}

EMPTY = (
    "an empty meadow",
    "a photo of an empty meadow",
    "an empty field",
    "a landscape without an animal",
    "a photo of an empty field",
    "an empty farm",
    "a barn and a fence, nobody there",
)

UNRELATED = (
    "a photo of a",
    "a photo of something",
    "a photo of a car",
    "a picture of a house",
    "an image of a person",
    "a video frame",
    "a close-up photo",
    "a photo of the sea",
    "a photo of a tractor",
    "",
)


def sample_texts(classes: tuple[str, ...], generator: torch.Generator) -> list[str]:
    """One random text for every class, then one for empty scenes, then an unrelated one."""

    def pick(options: tuple[str, ...]) -> str:
        return options[int(torch.randint(len(options), (), generator=generator))]

    # The plain class name matters most: half of the draws use it.
    words = [pick((name, pick(SYNONYMS.get(name, (name,))))) for name in classes]
    return [*(pick(TEMPLATES).format(word) for word in words), pick(EMPTY), pick(UNRELATED)]
