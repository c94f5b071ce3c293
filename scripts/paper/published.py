"""What the PagedAttention paper (Kwon et al., SOSP 2023, arXiv 2309.06180) and vLLM's first post say.

Ranges stand in the text. Bars of figures are marked so: they are as remembered, not read off anew, and agree with the
ratios that the text gives (2.2 x and 4.3 x more requests at once than Orca's oracle and max; 20.4-38.2 % live).
"""

KV_SLOTS = 15_728  # OPT-13B on one A100 of 40 GB: 12 GiB of keys and values, 800 KiB a token
MAX_MODEL_LEN = 2048
PAGE = 16
POLICIES = ("Max", "Pow2", "Oracle")

# Section 6.3: smallest and largest saving, parallel sampling of 2-6, beam widths of 2-6.
SAVING = {
    ("parallel", "Alpaca-like"): (0.061, 0.098),
    ("parallel", "ShareGPT-like"): (0.162, 0.305),
    ("beam", "Alpaca-like"): (0.376, 0.552),
    ("beam", "ShareGPT-like"): (0.443, 0.663),
}

# Figure 2 (bars): the share of KV memory that holds keys and values of tokens; ShareGPT, OPT-13B.
LIVE = {"Max": 0.204, "Pow2": 0.268, "Oracle": 0.382, "paged": 0.963}

# Figure 13 (bars): requests in a batch, OPT-13B, ShareGPT at 2 and Alpaca at 30 requests a second.
BATCHED = {
    "ShareGPT-like": {"Max": 7.00, "Pow2": 9.81, "Oracle": 13.62, "paged": 30.42},
    "Alpaca-like": {"Max": 7.00, "Pow2": 43.24, "Oracle": 72.75, "paged": 132.44},
}

# Section 6.4: throughput against Orca's oracle, LLaMA-13B, by tokens of the shared prefix.
PREFIX_THROUGHPUT = {80: 1.67, 341: 3.58}

WASTE = 0.04  # "under 4 %", vLLM's post of 2023-06-20
