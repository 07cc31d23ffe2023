"""Prints the expected probabilities in src/engine/sample.rs: what Hugging Face transformers leaves of one row of logits.

pip install torch transformers; checked with torch 2.15, transformers 5.23.
"""

import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

LOGITS = [1.5, -0.75, 3.25, 0.0, 2.875, -2.0, 3.0, 0.5, 1.0, -4.5, 2.0, 0.25]
HISTORY = [2, 5, 2, 6]
CASES = {
    "temperature": [TemperatureLogitsWarper(0.7)],
    "top-k": [TemperatureLogitsWarper(1.3), TopKLogitsWarper(4)],
    "top-p": [TemperatureLogitsWarper(0.9), TopPLogitsWarper(0.8)],
    "min-p": [TemperatureLogitsWarper(1.5), MinPLogitsWarper(0.2)],
    "bias": [SequenceBiasLogitsProcessor([[[3], 2.5], [[6], -1.5]])],
    "repetition": [RepetitionPenaltyLogitsProcessor(1.3)],
    "all": [
        SequenceBiasLogitsProcessor([[[3], 2.5], [[6], -1.5]]),
        RepetitionPenaltyLogitsProcessor(1.3),
        TemperatureLogitsWarper(0.8),
        TopKLogitsWarper(6),
        TopPLogitsWarper(0.9),
        MinPLogitsWarper(0.1),
    ],
}

for name, steps in CASES.items():
    scores = LogitsProcessorList(steps)(torch.tensor([HISTORY]), torch.tensor([LOGITS]))
    p = scores[0].double().softmax(-1)
    print(name, [(i, round(v, 7)) for i, v in enumerate(p.tolist()) if v > 0])
