"""The bundled BERT's input embeddings alone: no layer is run."""

from collections.abc import Iterable

from pprm.core.arrays import Floats
from pprm.encoders.averaged import Averaged
from pprm.encoders.text_encoder import bundled

NAME = "BERT's input embeddings"


def learn(texts: Iterable[str], seed: int) -> Averaged:
    """Learn how frequent the pieces of words are in these texts."""
    from transformers import AutoModel, AutoTokenizer

    directory = bundled()
    tokenizer = AutoTokenizer.from_pretrained(
        directory, local_files_only=True, trust_remote_code=False
    )
    bert = AutoModel.from_pretrained(
        directory, local_files_only=True, trust_remote_code=False, use_safetensors=True
    )
    table: Floats = bert.get_input_embeddings().weight.detach().numpy()

    def pieces(text: str) -> list[str]:
        return [str(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]

    sentences = [pieces(text) for text in dict.fromkeys(texts)]
    vectors = {piece: table[int(piece)] for sentence in sentences for piece in sentence}
    return Averaged(vectors, sentences, table.shape[1], pieces)
