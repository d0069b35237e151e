"""Meta-World's 50 tasks as sentences."""

from __future__ import annotations

import difflib

from vjepa.errors import UserError

SENTENCES = {
    "assembly-v3": "put the ring on the peg",
    "basketball-v3": "throw the ball into the basket",
    "bin-picking-v3": "move the cube from one bin to the other",
    "box-close-v3": "put the lid on the box",
    "button-press-topdown-v3": "press the button from above",
    "button-press-topdown-wall-v3": "press the button from above, around the wall",
    "button-press-v3": "press the button",
    "button-press-wall-v3": "press the button behind the wall",
    "coffee-button-v3": "press the button of the coffee machine",
    "coffee-pull-v3": "pull the mug away from the coffee machine",
    "coffee-push-v3": "push the mug under the coffee machine",
    "dial-turn-v3": "turn the dial",
    "disassemble-v3": "take the ring off the peg",
    "door-close-v3": "close the door",
    "door-lock-v3": "lock the door",
    "door-open-v3": "open the door",
    "door-unlock-v3": "unlock the door",
    "drawer-close-v3": "close the drawer",
    "drawer-open-v3": "open the drawer",
    "faucet-close-v3": "close the faucet",
    "faucet-open-v3": "open the faucet",
    "hammer-v3": "hammer the nail in",
    "hand-insert-v3": "put the hand into the hole",
    "handle-press-side-v3": "press the handle down from the side",
    "handle-press-v3": "press the handle down",
    "handle-pull-side-v3": "pull the handle up from the side",
    "handle-pull-v3": "pull the handle up",
    "lever-pull-v3": "pull the lever up",
    "peg-insert-side-v3": "insert the peg from the side",
    "peg-unplug-side-v3": "pull the peg out to the side",
    "pick-out-of-hole-v3": "take the puck out of the hole",
    "pick-place-v3": "bring the puck to the goal position",
    "pick-place-wall-v3": "bring the puck over the wall to the goal position",
    "plate-slide-back-side-v3": "slide the plate out of the net to the side",
    "plate-slide-back-v3": "slide the plate out of the net",
    "plate-slide-side-v3": "slide the plate into the net from the side",
    "plate-slide-v3": "slide the plate into the net",
    "push-back-v3": "pull the puck back to the goal position",
    "push-v3": "push the puck to the goal position",
    "push-wall-v3": "push the puck around the wall to the goal position",
    "reach-v3": "reach the goal position",
    "reach-wall-v3": "reach the goal position behind the wall",
    "shelf-place-v3": "put the puck on the shelf",
    "soccer-v3": "kick the ball into the goal",
    "stick-pull-v3": "pull the box with the stick",
    "stick-push-v3": "push the box with the stick",
    "sweep-into-v3": "sweep the puck into the hole",
    "sweep-v3": "sweep the puck off the table",
    "window-close-v3": "close the window",
    "window-open-v3": "open the window",
}


def sentence_of(task: str) -> str:
    """What a Meta-World task asks for, in words.

    Raises:
        UserError: there is no such task; the message names similar ones.
    """
    if task not in SENTENCES:
        similar = difflib.get_close_matches(task, SENTENCES) or list(SENTENCES)
        raise UserError(f"Meta-World has no task {task!r}; did you mean {' or '.join(similar[:3])}?")
    return SENTENCES[task]
