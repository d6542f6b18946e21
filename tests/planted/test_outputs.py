"""What networks give out: probabilities, one number, labels, values, several tensors; always the right number, or a sentence."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bitlens
from bitlens.core.outputs import OutputForm
from bitlens.core.targets import AnyOf, Binary, ClassTarget, LogOdds, MultiLabel, Regression, Target, as_target
from bitlens.errors import InputError, SettingError, TargetError
from bitlens.explaining.explainer import Explainer
from bitlens.metrics.degradation import degradation
from bitlens.models.load_text import described
from bitlens.probe.endings import output_form
from networks import LAYER, noise_images, small_net
from small_texts import TEXTS, BlankTokenizer, Lstm, small_lstm
from small_transformers import small_classifier

pytestmark = pytest.mark.filterwarnings("ignore:statistics from:bitlens.errors.BitlensWarning")
IMAGES = noise_images(4)
METHODS = ["iba", "grad-cam", "occlusion-8", "integrated-gradients", "saliency", "lime", "input-iba"]
QUICK: dict[str, dict[str, Any]] = {"lime": {"samples": 60}, "input-iba": {"steps": 2, "prior": "none"}}


def net(columns: int, *ending: nn.Module) -> nn.Sequential:
    """The small network with something behind it; without it the numbers are log-odds or logits."""
    torch.manual_seed(0)
    return nn.Sequential(*small_net(classes=columns), *ending).eval()


class Behind(nn.Module):
    """A function of what a network gives."""

    def __init__(self, columns: int, function: Any) -> None:
        super().__init__()
        self.inner, self.function = net(columns), function
        self.eval()

    def forward(self, images: Tensor) -> Any:
        return self.function(self.inner(images))


def layer_of(model: nn.Module) -> str:
    return f"inner.{LAYER}" if hasattr(model, "inner") else LAYER


def explained(name: str, model: nn.Module, targets: Any = None, **settings: Any) -> bitlens.Attribution:
    """By a method, from statistics of the same images where it needs them."""
    if name in ("iba", "grad-cam", "input-iba"):
        settings["layer"] = layer_of(model)
    made: Any = bitlens.method(name, model, **QUICK.get(name, {}), **settings)
    if name in ("iba",):
        made.fit_statistics([noise_images(16, seed=3)], granularity="channel")
    return made.explain(IMAGES, targets)


def form_of(model: nn.Module, images: Tensor = IMAGES, choice: Any = None) -> OutputForm:
    with torch.no_grad():
        return output_form(model, images, model(images), choice)


ENDINGS = {
    "module": nn.Sigmoid(),
    "function": torch.sigmoid,
    "in place": lambda x: x.sigmoid_(),
    "without its axis": lambda x: F.sigmoid(x)[:, 0],
    "moved about": lambda x: torch.stack([torch.sigmoid(x[:, 0])], 1).clone(),
    "half": lambda x: torch.sigmoid(x).half(),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_sigmoid_of_one_column_is_the_probability_of_class_one(ending: str) -> None:
    model = Behind(1, ENDINGS[ending])
    assert form_of(model).numbers == "binary-probability"
    p = model.inner(IMAGES).sigmoid().detach()[:, 0]
    for name in ("iba", "occlusion-8"):
        found = explained(name, model)
        assert found.targets == tuple(str(int(one > 0.5)) for one in p)
    proof = explained("iba", model).evidence
    assert proof is not None
    torch.testing.assert_close(proof.before, torch.maximum(p, 1 - p), atol=1e-3 if ending == "half" else 1e-5, rtol=0)


@pytest.mark.parametrize("name", METHODS)
def test_behind_a_sigmoid_every_method_finds_what_it_finds_before_it(name: str) -> None:
    squashed, plain = Behind(1, torch.sigmoid), Behind(1, lambda x: x)
    expected = explained(name, plain, output="binary")
    found = explained(name, squashed)
    assert found.targets == expected.targets
    torch.testing.assert_close(found.map, expected.map, rtol=1e-3, atol=1e-5 * float(expected.map.abs().max()))
    assert "output" not in found.settings
    assert expected.settings["output"] == "binary"


@pytest.mark.parametrize("name", ["lrp-alpha1-beta0", "deep-shap"])
@pytest.mark.parametrize("ending", [torch.sigmoid, lambda x: x.softmax(1)])
def test_what_begins_at_the_score_refuses_probabilities(name: str, ending: Any) -> None:
    model = Behind(1 if ending is torch.sigmoid else 3, ending)
    with pytest.raises(SettingError, match="before the last sigmoid or softmax, but this network gives probabilities"):
        explained(name, model)


@pytest.mark.parametrize("softmax", [lambda x: x.softmax(1), lambda x: F.softmax(x, 1).clone(), nn.Softmax(1)])
def test_probabilities_of_classes_are_used_as_they_are(softmax: Any) -> None:
    model = Behind(4, softmax)
    assert form_of(model).numbers == "probabilities"
    p = model(IMAGES).detach()
    found = explained("iba", model)
    assert found.evidence is not None
    torch.testing.assert_close(found.evidence.before, p.amax(1))
    torch.testing.assert_close(found.map, explained("iba", model.inner).map, rtol=1e-3, atol=1e-3)
    for name in ("occlusion-8", "integrated-gradients", "saliency"):
        other = explained(name, model, lambda output: output[:, 2].log())
        torch.testing.assert_close(explained(name, model, 2).map, other.map)


def test_one_column_of_a_softmax_is_the_probability_of_class_one() -> None:
    model = Behind(2, lambda x: x.softmax(1)[:, 1])
    assert form_of(model).numbers == "binary-probability"
    plain = explained("occlusion-8", model.inner, lambda output: output[:, 1] - output[:, 0]).map
    torch.testing.assert_close(explained("occlusion-8", model, 1).map, plain, rtol=1e-3, atol=1e-5)


def test_two_columns_made_of_one_probability_are_probabilities() -> None:
    model = Behind(1, lambda x: torch.cat([1 - x.sigmoid(), x.sigmoid()], 1))
    assert form_of(model).numbers == "probabilities"
    assert form_of(model, IMAGES[:1]).numbers == "probabilities"
    with torch.autocast("cpu", torch.bfloat16):
        assert form_of(model).numbers == "probabilities"


def test_logits_and_their_log_softmax_stay_what_they_were() -> None:
    expected = explained("iba", net(4))
    for model in (net(4, nn.LogSoftmax(1)), net(4, nn.Dropout()), Behind(4, lambda x: (x, None))):
        assert form_of(model).numbers == "logits"
        torch.testing.assert_close(explained("iba", model).map, expected.map, rtol=1e-3, atol=1e-3)


def test_logits_that_lie_between_zero_and_one_are_no_probabilities() -> None:
    model = Behind(4, lambda x: 0.3 + 0.01 * x)
    assert bool(((model(IMAGES) > 0) & (model(IMAGES) < 1)).all())
    assert form_of(model).numbers == "logits"
    relu = Behind(4, lambda x: (0.3 + 0.01 * x).relu())
    assert form_of(relu).numbers == "logits"


@pytest.mark.parametrize("name", ["iba", "grad-cam", "occlusion-8", "integrated-gradients"])
def test_one_column_of_which_nobody_says_what_it_is_is_refused(name: str) -> None:
    for targets in (None, 1, ClassTarget(torch.ones(4, dtype=torch.long))):
        with pytest.raises(
            TargetError, match="one number for each sample and does not say what it is: say output='binary' "
        ):
            explained(name, net(1), targets)
    with pytest.raises(TargetError, match="output='binary-probability' if it is the probability"):
        explained(name, Behind(1, lambda x: 0.5 + 0.1 * x.tanh()))
    for targets in (Binary(), Regression(), lambda output: output[:, 0]):
        assert explained(name, net(1), targets).map.shape == (4, 16, 16)


def test_a_regression_keeps_its_own_value() -> None:
    model = Behind(1, lambda x: 37 + x)
    value = model(IMAGES).detach()[:, 0]
    for targets, settings in ((None, {"output": "regression"}), (0, {"output": "regression"}), (Regression(), {})):
        found = explained("iba", model, targets, **settings)
        assert found.targets == tuple(f"value {float(one):.4g}" for one in value)
        assert found.evidence is not None
        assert found.evidence.measure == "score"
        torch.testing.assert_close(found.evidence.before, value)
    occluded = explained("occlusion-8", model, output="regression").map
    torch.testing.assert_close(occluded, explained("occlusion-8", model, lambda output: output[:, 0]).map)
    with pytest.raises(TargetError, match="gives 4 values for each sample: say which with Regression"):
        explained("iba", net(4), output="regression")
    assert explained("iba", net(4), 2, output="regression").targets[0].endswith(" of output 2")
    with pytest.raises(TargetError, match="column 5 does not exist: the network gives values 0 to 3"):
        explained("iba", net(4), Regression(column=5))


@pytest.mark.parametrize(
    "ending", [lambda x: x, torch.sigmoid, lambda x: torch.stack([x.sigmoid(), x.sigmoid()]).mean(0)]
)
def test_labels_count_by_themselves(ending: Any) -> None:
    model = Behind(3, ending)
    odds = model.inner(IMAGES).detach()
    said = {} if bool((model(IMAGES) == odds).logical_not().any()) else {"output": "multi-label"}
    assert form_of(model, choice=said.get("output")).labels
    found = explained("iba", model, 1, **said)
    assert found.evidence is not None
    torch.testing.assert_close(found.evidence.before, odds[:, 1].sigmoid())
    assert explained("iba", model, **said).targets == tuple(str(int(i)) for i in odds.argmax(1))
    for name in ("occlusion-8", "integrated-gradients"):
        expected = explained(name, model.inner, lambda output: output[:, 1]).map
        torch.testing.assert_close(explained(name, model, 1, **said).map, expected, rtol=1e-3, atol=1e-5)
        named = explained(name, model, MultiLabel(torch.ones(4, dtype=torch.long)))
        torch.testing.assert_close(named.map, expected, rtol=1e-3, atol=1e-5)
    with pytest.raises(TargetError, match="AnyOf asks about classes of which one is right"):
        explained("iba", model, AnyOf([0, 1]), **said)
    with pytest.raises(TargetError, match="class 3 does not exist: the network has classes 0 to 2"):
        explained("iba", model, MultiLabel(torch.full((4,), 3)))


def test_a_label_is_kept_by_its_own_log_odds() -> None:
    odds = torch.tensor([[2.0, -1.0, 6.5]])
    asked = as_target(torch.tensor([2]), odds, 1, OutputForm("multi-label"))
    assert float(asked.loss(odds)) == -6.5
    assert float(asked.value(odds)) == pytest.approx(0.9985, abs=1e-4)
    assert float(asked.value(odds + torch.tensor([[50.0, 50.0, 0.0]]))) == pytest.approx(0.9985, abs=1e-4)


@dataclass
class Named:
    features: Tensor
    classes: Tensor


SEVERAL = {
    "tuple": lambda x: (x.repeat(1, 4), x),
    "mapping": lambda x: {"features": x.repeat(1, 4), "classes": x},
    "data class": lambda x: Named(x.repeat(1, 4), x),
    "nested": lambda x: (x.repeat(1, 4), (x, None)),
}


@pytest.mark.parametrize("kind", SEVERAL)
@pytest.mark.parametrize("name", ["iba", "grad-cam", "occlusion-8", "integrated-gradients"])
def test_of_several_tensors_one_must_be_chosen(name: str, kind: str) -> None:
    model, part = Behind(4, SEVERAL[kind]), 1 if kind in ("tuple", "nested") else "classes"
    with pytest.raises(TargetError, match=r"the network returns \w+ with .*: say which is the answer with output="):
        explained(name, model)
    expected = explained(name, model.inner).map
    torch.testing.assert_close(explained(name, model, output=part).map, expected)
    torch.testing.assert_close(explained(name, model, output=(part, "logits")).map, expected)
    torch.testing.assert_close(explained(name, model, output=f"{part}+logits").map, expected)
    with pytest.raises(TargetError, match=r"output='nothing', but the network returns .*: name one of these"):
        explained(name, model, output="nothing")


def test_a_mapping_that_names_its_logits_needs_no_choice() -> None:
    model = Behind(4, lambda x: {"features": x.repeat(1, 4), "logits": x, "loss": torch.zeros(())})
    torch.testing.assert_close(explained("iba", model).map, explained("iba", net(4)).map)


def test_a_part_of_the_output_is_read_as_what_it_is() -> None:
    model = Behind(1, lambda x: (x.repeat(1, 5), torch.sigmoid(x)))
    found = explained("iba", model, output=1)
    p = model.inner(IMAGES).sigmoid().detach()[:, 0]
    assert found.evidence is not None
    torch.testing.assert_close(found.evidence.before, torch.maximum(p, 1 - p))


def test_one_place_of_an_image_is_none() -> None:
    plain, at_a_place = net(3), Behind(3, lambda scores: scores[:, :, None, None])
    maps = [explained("iba", model, 1).map for model in (plain, at_a_place)]
    torch.testing.assert_close(maps[1], maps[0])


@pytest.mark.parametrize(
    ("count", "function"), [(1, torch.squeeze), (4, lambda scores: scores.T)], ids=["one", "turned"]
)
def test_an_answer_that_lost_its_samples_is_refused(count: int, function: Any) -> None:
    model, images = Behind(3, function), IMAGES[:count]
    with pytest.raises(TargetError, match=rf"answers {count} samples? with \(.*\), whose first axis counts no samples"):
        form_of(model, images).scores(model(images))


@pytest.mark.parametrize("output", ["", "1+nonsense", (1,), (1, 2), 1.5, True, ("a", None), (None, "logits")])
def test_a_choice_that_makes_no_sense_is_refused(output: Any) -> None:
    with pytest.raises(SettingError, match="output must be one of 'logits'"):
        bitlens.method("occlusion-8", net(4), output=output)


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TargetError, match="the output has 4 columns: 'binary' is for one"):
        explained("iba", net(4), output="binary")
    with pytest.raises(TargetError, match=r"torch.int64, no scores: give it without the argmax"):
        explained("occlusion-8", Behind(4, lambda x: x.argmax(1)))
    with pytest.raises(TargetError, match="comes out of a softmax, but its rows do not sum to 1"):
        explained("occlusion-8", Behind(4, lambda x: x.reshape(-1, 2, 2).softmax(2).flatten(1)))


def test_a_loss_within_the_network_says_what_its_output_is() -> None:
    for loss, columns, numbers in [
        (nn.BCEWithLogitsLoss(), 1, "binary"),
        (nn.BCEWithLogitsLoss(), 3, "multi-label"),
        (nn.MSELoss(), 1, "regression"),
        (nn.MSELoss(), 3, "logits"),
        (nn.CrossEntropyLoss(), 3, "logits"),
    ]:
        model = net(columns)
        model[5].criterion = loss
        assert form_of(model).numbers == numbers


def test_a_network_may_say_itself_what_its_output_is() -> None:
    model = net(1)
    model.bitlens_output = "regression"  # type: ignore[assignment]
    assert explained("occlusion-8", model).targets[0].startswith("value ")
    assert explained("occlusion-8", model, output="binary").targets[0] in ("0", "1")


def test_the_pass_that_looks_at_the_last_operation_is_made_once() -> None:
    model = Behind(1, torch.sigmoid)
    explained("occlusion-8", model)
    passes = []
    handle = model.register_forward_hook(lambda *_: passes.append(1))
    form_of(model)
    handle.remove()
    assert len(passes) == 1  # the one of this test itself
    model = Behind(1, lambda x: x * 10)
    model.register_forward_hook(lambda *_: passes.append(1))
    form_of(model)
    assert len(passes) == 2  # numbers outside [0, 1] need none


@pytest.mark.parametrize(
    ("target", "form"),
    [
        (ClassTarget(torch.tensor([0, 1])), OutputForm("binary-probability")),
        (LogOdds(torch.tensor([0, 1])), OutputForm("probabilities")),
        (MultiLabel(torch.tensor([0, 1])), OutputForm("multi-label-probabilities")),
        (Regression(torch.tensor([1.0, 2.0])), OutputForm("regression")),
        (Binary(torch.tensor([0, 1])), OutputForm("binary-probability")),
    ],
)
def test_a_part_of_a_question_is_asked_of_the_same_output(target: Target, form: OutputForm) -> None:
    columns = 1 if form.numbers in ("binary-probability", "regression") else 2
    output = torch.tensor([[0.2, 0.8], [0.7, 0.3]])[:, :columns]
    whole = target.asked_of(form, output, 2)
    for row in range(2):
        part = whole.select(slice(row, row + 1))
        assert part.count == 1
        torch.testing.assert_close(part.loss(output[row : row + 1]), whole.loss(output)[row : row + 1])
        torch.testing.assert_close(part.value(output[row : row + 1]), whole.value(output)[row : row + 1])


def test_a_readout_learns_behind_a_softmax_and_refuses_labels_and_values() -> None:
    pytest.importorskip("accelerate")
    batches = [(noise_images(8, seed=5), torch.arange(8) % 4)]
    readout = bitlens.ReadoutIBA(Behind(4, lambda x: x.softmax(1)), f"inner.{LAYER}", conditional=True)
    readout.fit_weights(batches, bitlens_training())
    found = readout.explain(IMAGES, 2)
    assert found.evidence is not None
    torch.testing.assert_close(found.evidence.before, readout.model(IMAGES)[:, 2].detach())
    for output in ("multi-label", "regression"):
        with pytest.raises(TargetError, match=f"a readout answers for classes, but the network's output is {output}"):
            bitlens.ReadoutIBA(net(4), LAYER, output=output).fit_weights(
                [(IMAGES, torch.full((4,), 1))], bitlens_training()
            )


def bitlens_training() -> Any:
    from bitlens.training.settings import TrainingSettings

    return TrainingSettings(epochs=1, batch=4, held_out=0.0)


def test_metrics_ask_the_same_question() -> None:
    model = Behind(1, torch.sigmoid)
    maps = explained("occlusion-8", model).map
    curves = degradation(model, IMAGES, None, maps, tile=8, precision="float32")
    p = model(IMAGES).detach()[:, 0]
    torch.testing.assert_close(curves.morf[:, 0].float(), torch.maximum(p, 1 - p))
    with pytest.raises(TargetError, match="does not say what it is"):
        degradation(model.inner, IMAGES, None, maps, tile=8)
    degradation(model.inner, IMAGES, Regression(), maps, tile=8)


class Squashed(Lstm):
    """The small network for texts behind a sigmoid."""

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return super().forward(*args, **kwargs).sigmoid()


@pytest.mark.parametrize("name", ["token-iba", "iba", "occlusion", "integrated-gradients", "lime", "input-iba"])
def test_texts_behind_a_sigmoid(name: str) -> None:
    plain = small_lstm()
    squashed = Squashed().eval()
    squashed.load_state_dict(plain.model.state_dict())
    squashed.bitlens_output = None  # it is for the values to tell
    batch, found = BlankTokenizer()(TEXTS), []
    for model in (plain.model, squashed):
        loaded = described(model, BlankTokenizer(), "small")
        settings = {"layer": "embedding"} if "iba" in name else {}
        method: Any = bitlens.method(name, loaded, **settings)
        if "iba" in name:
            method.fit_statistics([batch])
        found.append(method.explain(batch))
    assert found[0].targets == found[1].targets
    torch.testing.assert_close(found[0].map, found[1].map, rtol=1e-2, atol=1e-2 * float(found[0].map.abs().max()))


def test_transformers_say_what_their_output_is() -> None:
    batch = BlankTokenizer()(TEXTS)
    for changes, numbers in [
        ({"num_labels": 1}, "regression"),
        ({"num_labels": 3, "problem_type": "multi_label_classification"}, "multi-label"),
        ({"num_labels": 3, "problem_type": "single_label_classification"}, "logits"),
        ({"num_labels": 3, "problem_type": "regression"}, "regression"),
        ({"num_labels": 1, "problem_type": "multi_label_classification"}, "binary"),
    ]:
        model = small_classifier("Bert", **changes)
        with torch.no_grad():
            output = model(**batch.inputs)
            assert output_form(model, batch.inputs, output).numbers == numbers
            wrapper = Wrapper(model)
            assert output_form(wrapper, batch.inputs, wrapper(**batch.inputs)).numbers == numbers


class Wrapper(nn.Module):
    """As people make them for libraries that want tensors."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Tensor) -> Tensor:
        return self.model(**inputs).logits


def test_a_text_is_said_to_have_a_value_or_a_label() -> None:
    quick = {"method": "occlusion"}
    valued = Explainer(small_classifier("Bert", num_labels=1), BlankTokenizer(), **quick)
    with torch.no_grad():
        value = float(valued.loaded.model(**BlankTokenizer()(TEXTS[:1]).inputs).logits)
    found = valued(TEXTS[0])
    assert (found.target, found.prediction, found.probability) == (f"value {value:.4g}", "", None)
    assert "p =" not in found.html()
    labelled = Explainer(
        small_classifier("Bert", problem_type="multi_label_classification"), BlankTokenizer(), classes="abc", **quick
    )
    with torch.no_grad():
        p = labelled.loaded.model(**BlankTokenizer()(TEXTS[:1]).inputs).logits.sigmoid()[0]
    found = labelled(TEXTS[0])
    assert (found.prediction, found.probability) == ("abc"[int(p.argmax())], pytest.approx(float(p.max()), abs=1e-5))
    one = Explainer(small_lstm().model, BlankTokenizer(), output="regression", **quick)
    assert one(TEXTS[0]).target.startswith("value ")
    binary = Explainer(small_lstm().model, BlankTokenizer(), **quick)
    assert binary(TEXTS[0], target="regression").target.startswith("value ")
    assert binary(TEXTS[0], target="multi-label:0").target == "class 0"


NETWORK = """
import torch
from torch import nn

def made(ending):
    torch.manual_seed(0)
    parts = [nn.Conv2d(3, 6, 5, stride=4, padding=2), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 1), *ending).eval()

def one():
    return made([])

def sigmoid():
    return made([nn.Sigmoid()])
"""


def test_the_page_and_the_evaluation_say_the_value(bitlens: Any, tmp_path: Any) -> None:
    pytest.importorskip("gradio")
    from PIL import Image

    from bitlens.app.answers import Answers, Question
    from bitlens.app.evidence import answer_of
    from bitlens.app.offers import Offer, Shelf, input_desk
    from bitlens.app.takeaway import drawn

    (tmp_path / "net.py").write_text(NETWORK)
    Image.new("RGB", (64, 64), (200, 30, 90)).save(tmp_path / "photo.png")
    shelf = Shelf([Offer(f"{tmp_path}/net.py:one", "builtin:scenes-train")], "cpu", input_desk)
    answers = Answers(shelf["net.py:one"])
    question = [
        tmp_path / "photo.png",
        "photo.png",
        ("grad-cam", "occlusion-14"),
        answers.desk.layer,
        1.0,
        "fast",
        None,
    ]
    with pytest.raises(InputError, match="does not say what it is"):
        answers.answer(Question(*question))
    shown = answers.answer(Question(*question, output="regression"))
    assert shown.explained.predicted == ""
    assert shown.explained.name.startswith("value ")
    said = []
    for name, one in (("value", shown), ("binary", answers.answer(Question(*question, output="binary")))):
        (tmp_path / name).mkdir()
        said.append(answer_of(one, drawn(one, "net", tmp_path / name)).html())
    assert "probability" not in said[0]
    assert "The network says" not in said[0]
    assert "probability, for the whole photo" in said[1]
    assert "The network says" in said[1]
    (tmp_path / "photos.csv").write_text("file,label\nphoto.png,1\n")
    where = ["evaluate", "--model", f"{tmp_path}/net.py:one", "--data", f"csv:{tmp_path}/photos.csv", "--metrics"]
    spec = "occlusion-14:output=binary,random"
    said = bitlens(*where, "degradation-14", "--methods", spec, "--out", "r", "--device", "cpu")
    assert "failed" not in said.stdout


def test_commands_take_the_word_and_say_the_value(bitlens: Any, tmp_path: Any) -> None:
    from PIL import Image

    (tmp_path / "net.py").write_text(NETWORK)
    Image.new("RGB", (64, 64), (200, 30, 90)).save(tmp_path / "photo.png")
    common = ["explain", tmp_path / "photo.png", "--device", "cpu", "--method", "grad-cam:layer=2,occlusion-14"]
    refused = bitlens(*common, "--model", f"{tmp_path}/net.py:one", "--out", "r", code=1)
    assert "--target binary or --target regression" in refused.stderr
    shown = bitlens(*common, "--model", f"{tmp_path}/net.py:one", "--out", "a", "--target", "regression", "--report")
    assert "value before" in shown.stdout
    assert "class" not in shown.stdout
    assert "p before" not in shown.stdout
    rows = json.loads((tmp_path / "a" / "summary.json").read_text())["photos"]
    assert all(row["name"].startswith("value ") and "probability_before" not in row for row in rows)
    again = bitlens(*common, "--model", f"{tmp_path}/net.py:one", "--out", "a", "--target", "regression")
    assert "(2 of 2 were there already)" in again.stdout
    spec = [*common[:-1], "occlusion-14:output=binary"]
    bitlens(*spec, "--model", f"{tmp_path}/net.py:one", "--out", "b", "--json")
    (declared,) = json.loads((tmp_path / "b" / "summary.json").read_text())["photos"]
    found = json.loads(bitlens(*common, "--model", f"{tmp_path}/net.py:sigmoid", "--out", "c", "--json").stdout)
    assert found[0]["probability_before"] == pytest.approx(declared["probability_before"], abs=1e-6)
    assert found[0]["name"] == declared["name"]
