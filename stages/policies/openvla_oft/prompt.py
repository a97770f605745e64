"""The text of a query: what stands before the action tokens, as ids.

`In: What action should the robot take to INSTRUCTION?\\nOut:` and the token of a lone space, which stood before the
actions in training (rob_rollout.py:518,548-556 in PRIME-RL/SimpleVLA-RL@7c51662). The file `tokenizer.json` is read by
`tokenizers`, because transformers 5 rebuilds Llama's tokenizer in its own way.

Texts are padded to a multiple of 64 ids, which makes nearly all of them 128 long: in bf16 a log-prob depends on how
long the batch is, and a rollout's batches are not an update's. Of random weights whose logits deviate by 6, padded to
the longest of a batch, the ratio of the two was up to 1.2, and exactly 1 with equal lengths (on a CPU).

Shapes: B queries, T the longest prompt + 56 slots + </s>, padded.
"""

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import Tensor

from data.errors import UserError
from stages.policies.openvla_oft.network import SLOTS

BOS, STOP, SPACE, PAD = 1, 2, 29871, 32000
UNIT = 64
FILE = "tokenizer.json"


class Prompts:
    """Instructions to ids, remembered.

    Raises:
        UserError: `text`, the content of a `tokenizer.json`, is none.
    """

    def __init__(self, text: str, where: str) -> None:
        try:
            self._tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # tokenizers raises nothing narrower
            raise UserError(f"{where} is no tokenizer ({error}); copy it again from the released checkpoint") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._known: dict[str, list[int]] = {}

    def ids(self, instruction: str) -> list[int]:
        """The ids of one prompt, from BOS to the space."""
        if instruction not in self._known:
            text = f"In: What action should the robot take to {instruction.lower()}?\nOut:"
            ids = self._tokenizer.encode(text).ids
            ids = ids if ids[:1] == [BOS] else [BOS, *ids]
            self._known[instruction] = ids if ids[-1] == SPACE else [*ids, SPACE]
        return self._known[instruction]

    def batch(self, instructions: Sequence[str], device: torch.device) -> dict[str, Tensor]:
        """The inputs `text` (B, T) i64 and `length` (B,) i64."""
        prompts = [self.ids(instruction) for instruction in instructions]
        size = padded_length(max(len(ids) for ids in prompts))
        rows = [[*ids, *[BOS] * SLOTS, STOP, *[PAD] * (size - len(ids) - SLOTS - 1)] for ids in prompts]
        length = torch.tensor([len(ids) for ids in prompts])
        return {"text": torch.tensor(rows).to(device), "length": length.to(device)}


def padded_length(prompt: int) -> int:
    """T of a prompt of so many ids."""
    return -(-(prompt + SLOTS + 1) // UNIT) * UNIT
