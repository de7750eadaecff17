"""Numbers and names of the places that a search changes. The floors below read them, so this module imports nothing."""

HEAD = 0
"""Stands for the head among the numbers of stages."""


def stage_name(stage: int) -> str:
    """The number of a stage; "head" for the head."""
    return "head" if stage == HEAD else str(stage)


def place_name(stage: int) -> str:
    """A stage in a sentence: "stage 4"; "the head" for the head."""
    return "the head" if stage == HEAD else f"stage {stage}"
