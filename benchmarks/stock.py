"""A stock BERT cross-encoder that every engine loads: the shape of ms-marco-MiniLM-L6-v2, random weights.

Speed does not depend on what weights say, and mini-en's own layout is known to crossrank alone.
"""

from __future__ import annotations

import json
from pathlib import Path

from crossrank.hub import find

__all__ = ["stock"]

SPREAD = 0.06  # of the weights: with the customary 0.02 all texts would score alike, and errors could not show
# A pair as BERT's tokenizer frames it.
PAIR = "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1"


def stock(folder: Path) -> Path:
    """Write the checkpoint into a new folder "stock" below `folder`, and return it; always the same."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertForSequenceClassification

    ours = find("mini-en")
    tokenizer = Tokenizer.from_file(str(ours / "tokenizer.json"))
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", pair=PAIR, special_tokens=ids)
    torch.manual_seed(0)
    sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    rows = tokenizer.get_vocab_size()
    model = BertForSequenceClassification(BertConfig(vocab_size=rows, num_labels=1, initializer_range=SPREAD, **sizes))
    model.save_pretrained(folder / "stock")
    tokenizer.save(str(folder / "stock" / "tokenizer.json"))
    told = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512}
    told |= {f"{kind}_token": f"[{kind.upper()}]" for kind in ("cls", "sep", "pad", "unk", "mask")}
    (folder / "stock" / "tokenizer_config.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return folder / "stock"
