"""OpenVLA-OFT with action tokens (arXiv 2502.19645): released checkpoints, read without their remote code.

A 7B policy: two vision towers, a projector and Llama 2, which predicts the 56 tokens of a chunk in one pass. What this
package knows of the format it has from the sources of moojink/openvla-oft@213c5ff (`modeling_prismatic.py`,
`run_libero_eval.py`, `openvla_utils.py`), moojink/transformers-openvla-oft@bc339d9 (the attention mask),
PRIME-RL/SimpleVLA-RL@7c51662 (the token head) and timm 0.9.10 (the towers).
"""

from stages.policies.openvla_oft.policy import OpenVLAPolicy

__all__ = ["OpenVLAPolicy"]
