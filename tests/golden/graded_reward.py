"""A reward that an untrained model earns by halves, so that every group of the golden runs has something to learn."""


def share_of_digits(completions, **_):
    """Share of a response's words that are numbers."""
    words = [text.split() for text in completions]
    return [sum(word.strip("+-").isdigit() for word in said) / max(len(said), 1) for said in words]
