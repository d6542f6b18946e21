"""What is said of an answer on cards and in tables."""

import pytest

from bitlens.view.answer import Answer


@pytest.mark.parametrize(
    ("answer", "heading", "besides", "right"),
    [
        (Answer("nodule", 0.789, "nodule", 0.789), "predicted nodule (0.79)", [], None),
        (
            Answer("nodule", 0.1, "normal", 0.9),
            "asked about nodule (0.10)",
            ["the network predicts normal (0.90)"],
            None,
        ),
        (Answer("nodule", 0.8, "nodule", 0.8, "nodule"), "predicted nodule (0.80)", ["label nodule: right"], True),
        (Answer("nodule", 0.8, "nodule", 0.8, "normal"), "predicted nodule (0.80)", ["label normal: wrong"], False),
        (Answer("value 0"), "value 0", [], None),
        (Answer("nodule", 0.8, label="nodule"), "nodule (0.80)", [], None),  # nobody knows what the network says
    ],
)
def test_headings_say_what_was_predicted_or_asked(answer, heading, besides, right):
    assert (answer.heading, answer.besides, answer.right) == (heading, besides, right)


def test_a_sample_is_found_by_what_it_is_and_by_what_is_said_of_it():
    assert Answer("nodule", 0.1, "normal", 0.9, "mass").classes == ["normal", "nodule", "mass"]
    assert Answer("nodule", 0.9, "nodule", 0.9, "nodule").classes == ["nodule"]
