"""A BERT of any width in Hugging Face layout, with weights drawn at random: quick to load."""

from pathlib import Path

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz0123456789"]


def write(directory: Path, dimensions: int, seed: int = 0) -> Path:
    """Write one; returns its directory."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    directory.mkdir()
    torch.manual_seed(seed)
    vocabulary = directory / "vocab.txt"
    vocabulary.write_text("\n".join([*WORDS, *(f"##{word}" for word in WORDS[5:])]) + "\n")
    config = BertConfig(
        vocab_size=2 * len(WORDS), hidden_size=dimensions, num_hidden_layers=1,
        num_attention_heads=4, intermediate_size=8,
    )  # fmt: skip
    BertModel(config).save_pretrained(directory)
    BertTokenizerFast(vocab_file=str(vocabulary)).save_pretrained(directory)
    return directory
