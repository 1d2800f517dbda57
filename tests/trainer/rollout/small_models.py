"""Sizes of the models that the sampler is tried on."""

SMALL = {
    "vocab_size": 24,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "eos_token_id": 1,
    "bos_token_id": None,
    "pad_token_id": 0,
}
