"""Small transformers that were taught, in a second or two, to look at one word of a text: which it is decides the class."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitlens.models.load_text import described
from bitlens.models.loaded import Loaded

FILLERS = [
    "the",
    "a",
    "film",
    "story",
    "actor",
    "plot",
    "is",
    "was",
    "it",
    "and",
    "of",
    "very",
    "so",
    "long",
    "short",
    "house",
]
FILLERS += ["cat", "tree", "sun"]
DECISIVE = ["awful", "great"]
WORDS = [*FILLERS, *DECISIVE]
PAD, CLS, SEP, UNKNOWN = 0, 1, 2, 3
FIRST = 4  # id of the first word
FAMILIES = ["Bert", "Albert", "XLNet", "GPT2", "Llama", "T5"]


def tokenizer(*, special: bool = False, spaces: bool = True, padding: bool = True) -> Any:
    """Every word is a token; without `spaces` there is no pre-tokenizer, as in Llama 2 and Gemma."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    names = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    if spaces:
        own = Tokenizer(models.WordLevel({n: i for i, n in enumerate([*names, *WORDS])}, unk_token="[UNK]"))
        own.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        own = Tokenizer(
            models.Unigram([*((n, -99.0) for n in names), *((f"▁{w}", -1.0) for w in WORDS), ("▁", -9.0)], UNKNOWN)
        )
        own.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    if special:
        own.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
        )
    known = {"unk_token": "[UNK]", **({"pad_token": "[PAD]"} if padding else {}), "eos_token": "[SEP]"}
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=own, model_input_names=["input_ids", "attention_mask"], model_max_length=32, **known
    )


class T5Encoder(nn.Module):
    """An encoder whose layers put out a position bias too, and the mean of its tokens."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        import transformers

        self.encoder = transformers.T5EncoderModel(config)
        self.head = nn.Linear(config.d_model, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask[..., None]
        return self.head((hidden * mask).sum(1) / mask.sum(1))


def untaught(family: str, **changes: Any) -> nn.Module:
    """A classifier of two classes with random weights: 3 layers of 16 hidden units."""
    import transformers

    size = FIRST + len(WORDS) + 1
    sizes: dict[str, Any] = {
        "Bert": {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32},
        "XLNet": {"d_model": 16, "n_layer": 3, "n_head": 2, "d_inner": 32},
        "GPT2": {"n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 32, "bos_token_id": None},
        "T5": {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 3, "num_heads": 2, "initializer_factor": 1.0},
    }
    sizes["Llama"] = {**sizes["Bert"], "bos_token_id": None}
    sizes["Albert"] = {**sizes["Bert"], "embedding_size": 16}
    given = {"vocab_size": size, "num_labels": 2, "pad_token_id": PAD, "eos_token_id": SEP, **sizes[family], **changes}
    config = getattr(transformers, f"{family}Config")(**given)
    if family == "T5":
        return T5Encoder(config).eval()
    made: nn.Module = getattr(transformers, f"{family}ForSequenceClassification")(config).eval()
    return made


def texts(count: int, seed: int, fewest: int = 4, most: int = 8) -> tuple[list[str], list[int], list[int]]:
    """Texts, the place of the decisive word among each one's words, and the class."""
    generator = torch.Generator().manual_seed(seed)

    def number(high: int) -> int:
        return int(torch.randint(high, (), generator=generator))

    made, places, labels = [], [], []
    for _ in range(count):
        words = [FILLERS[number(len(FILLERS))] for _ in range(fewest + number(most - fewest + 1))]
        places.append(number(len(words) - 1))
        labels.append(number(2))
        words[places[-1]] = DECISIVE[labels[-1]]
        made.append(" ".join(words))
    return made, places, labels


def taught(family: str, steps: int = 150, **changes: Any) -> Loaded:
    """A classifier that has learnt to look at the decisive word."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = untaught(family, **changes)
        own = tokenizer(special=family in ("Bert", "Albert"))
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        for step in range(steps):
            written, _, labels = texts(32, step + 1)
            output = model(**own(written, padding=True, return_tensors="pt"))
            F.cross_entropy(getattr(output, "logits", output), torch.tensor(labels)).backward()
            optimizer.step()
            optimizer.zero_grad()
    return described(model.eval(), own, family)
