"""config.json, read strictly: a setting that we do not compute is an error, never ignored."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from crossrank.errors import CheckpointError

__all__ = ["check", "number"]

LARGEST = 1 << 24  # of sizes: more than any model's, and two of them multiplied still count bytes in 64 bits

# Written by transformers into every config; none of them changes what one forward pass of an encoder computes.
HARMLESS = frozenset(
    """architectures auto_map attn_implementation bos_token_id classifier_dropout cls_token_id directionality dtype
    eos_token_id finetuning_task gradient_checkpointing attention_probs_dropout_prob hidden_dropout_prob id2label
    initializer_range label2id language_model_type max_length model_max_length model_type output_past pad_token_id
    pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type problem_type
    sbert_ce_default_activation_function sentence_transformers sep_token_id task_specific_params tie_word_embeddings
    tokenizer_class torch_dtype transformers_version use_cache use_flash_attn fused_bias_fc fused_dropout_add_ln
    fused_mlp use_qk_norm num_labels emb_pooler vocab_size decoder_start_token_id prefix
    chunk_size_feed_forward temperature top_k top_p repetition_penalty length_penalty num_beams num_beam_groups
    num_return_sequences max_new_tokens min_length do_sample early_stopping diversity_penalty typical_p
    encoder_no_repeat_ngram_size no_repeat_ngram_size return_dict output_scores remove_invalid_values""".split()
)


def check(config: Mapping[str, Any], read: frozenset[str], fixed: Mapping[str, tuple[object, ...]]) -> None:
    """Refuse a config with settings that are not computed.

    read: keys that the architecture computes with. fixed: keys that may be absent or hold one of the values given.
    Any other key must be harmless or switched off (null, false, 0, empty).
    """
    for key, allowed in fixed.items():
        if key in config and config[key] not in allowed:
            wanted = " or ".join(map(repr, allowed))
            raise CheckpointError(f"config.json sets {key} to {config[key]!r}; this version computes {wanted}")
    known = read | fixed.keys() | HARMLESS
    strange = [key for key, value in config.items() if key not in known and not key.startswith("_") and value]
    if strange:
        listed = ", ".join(f"{key}={config[key]!r}"[:80] for key in strange[:5])
        raise CheckpointError(f"config.json has settings that may change the scores and are not computed: {listed}")


def number(config: Mapping[str, Any], key: str, kind: type[int] | type[float] = int) -> Any:
    """A positive number of config.json, of this kind; CheckpointError names what was found instead."""
    value = config.get(key)
    most = LARGEST if kind is int else sys.float_info.max
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= most or kind(value) != value:
        wanted = f"int up to {LARGEST:,}" if kind is int else "float"
        raise CheckpointError(f"config.json: {key} should be a positive {wanted}, not {value!r:.60}")
    return kind(value)
