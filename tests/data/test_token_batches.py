"""Tokenizers of transformers, made here so that nothing is downloaded."""

import pytest
import torch

from bitlens.data.tokenizing import HubTokenizer, Word, joined_text
from bitlens.errors import BitlensWarning, InputError, ModelError

TEXTS = ["Unbelievably  good, isn't it?", "short"]


def word_pieces(**options):
    """BERT's: [CLS] a b [SEP], pieces marked by ##."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = ["un", "##bel", "##iev", "##ably", "good", ",", "isn", "'", "t", "it", "?", "short", "a", "pair"]
    tokenizer = Tokenizer(WordPiece({piece: n for n, piece in enumerate(names + pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = BertNormalizer(), BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    roles = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), names, strict=True))
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **{**roles, **options})
    made.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    return made


def byte_pairs():
    """RoBERTa's: bytes, a space counted to the word behind it."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({letter: n for n, letter in enumerate([*alphabet, "<pad>"])}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")


def test_pieces_know_their_characters_and_words():
    batch = HubTokenizer(word_pieces(), 32)(TEXTS)
    assert batch.tokens[0][:6] == ("[CLS]", "un", "##bel", "##iev", "##ably", "good")
    assert batch.tokens[1] == ("[CLS]", "short", "[SEP]")
    assert batch.spans[0][:3] == (None, (0, 2), (2, 5))
    assert [TEXTS[0][slice(*word.span)] for word in batch.words_of(0)] == [
        "Unbelievably",
        "good",
        ",",
        "isn",
        "'",
        "t",
        "it",
        "?",
    ]
    assert batch.words_of(1) == (Word((0, 5), (1,)),)
    assert batch.real[1].tolist() == [False, True] + [False] * (batch.real.shape[1] - 2)
    assert batch.special[1].tolist() == [True, False, True] + [False] * (batch.real.shape[1] - 3)
    assert torch.equal(batch.present, batch.inputs["attention_mask"].bool())
    assert set(batch.inputs) == {"input_ids", "token_type_ids", "attention_mask"}


def test_a_text_among_others_is_what_it_is_alone():
    tokenizer = HubTokenizer(word_pieces(), 32)
    both, alone = tokenizer(TEXTS), tokenizer(TEXTS[1:])
    length = alone.real.shape[1]
    assert all(torch.equal(both.inputs[name][1:, :length], value) for name, value in alone.inputs.items())
    assert (both.tokens[1], both.spans[1], both.words[1]) == (alone.tokens[0], alone.spans[0], alone.words[0])


def test_the_words_of_a_pair_go_on_counting():
    batch = HubTokenizer(word_pieces(), 32)(["good"], ["a pair"])
    assert batch.texts == (joined_text("good", "a pair"),) == ("good\na pair",)
    assert [batch.texts[0][slice(*word.span)] for word in batch.words_of(0)] == ["good", "a", "pair"]
    assert batch.words[0] == (None, 0, None, 1, 2, None)
    assert batch.inputs["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1]]


def test_a_space_is_no_part_of_a_word():
    text = "no é  go"
    batch = HubTokenizer(byte_pairs(), 32)([text])
    assert [text[slice(*word.span)] for word in batch.words_of(0)][:2] == ["no", "é"]
    assert [text[slice(*word.span)] for word in batch.words_of(0)][-1] == "go"


def test_deleted_tokens_leave_no_gap():
    tokenizer = HubTokenizer(word_pieces(), 32)
    batch = tokenizer(["good it", "a short pair"], ["a", "it"])
    removed = torch.zeros_like(batch.real)
    removed[0, :2] = True  # [CLS] stays
    removed[1, 2:4] = True
    left, wanted = tokenizer.without(batch, removed), tokenizer(["it", "a"], ["a", "it"])
    assert {name: value.tolist() for name, value in left.inputs.items()} == {
        name: value.tolist() for name, value in wanted.inputs.items()
    }
    assert left.tokens == wanted.tokens
    assert torch.equal(left.real, wanted.real)
    assert torch.equal(left.special, wanted.special)
    with pytest.raises(InputError, match="removed must be bool"):
        tokenizer.without(batch, removed.long())


def test_long_texts_are_cut_with_a_warning():
    with pytest.warns(BitlensWarning, match="text 1 is longer than the 5 tokens"):
        batch = HubTokenizer(word_pieces(), 5)(["good", "good good good good good"])
    assert batch.tokens[1] == ("[CLS]", "good", "good", "good", "[SEP]")


def test_what_takes_the_place_of_a_token():
    assert HubTokenizer(word_pieces(), 8).mask_id == 4
    assert HubTokenizer(word_pieces(mask_token=None), 8).mask_id == 1
    assert HubTokenizer(byte_pairs(), 8).mask_id == HubTokenizer(byte_pairs(), 8).pad_id == 256


def test_refused_tokenizers_and_texts():
    with pytest.raises(ModelError, match="fast tokenizer"):
        HubTokenizer(object(), 8)
    unpadded = HubTokenizer(word_pieces(pad_token=None), 8)
    assert unpadded(["good"]).real.sum() == 1
    with pytest.raises(ModelError, match="no padding token"):
        unpadded(["good", "a pair"])
    with pytest.raises(InputError, match="text 0 is empty"):
        HubTokenizer(word_pieces(), 8)([""])


def test_a_batch_moves_as_a_whole():
    batch = HubTokenizer(word_pieces(), 32)(TEXTS).to("meta")
    assert {value.device.type for value in (*batch.inputs.values(), batch.real, batch.special)} == {"meta"}
    assert len(batch) == 2
