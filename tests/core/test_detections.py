"""Questions about boxes, of a detector whose answer is known and of one of torchvision's."""

import pytest
import torch
from torch import nn

import bitlens
from bitlens.core.detections import Box, Boxes, detections_of, overlaps, summed_up
from bitlens.core.outputs import OutputForm
from bitlens.errors import SettingError, TargetError

FOUND = {
    "boxes": torch.tensor([[10.0, 10.0, 30.0, 30.0], [12.0, 10.0, 32.0, 30.0], [50.0, 50.0, 60.0, 60.0]]),
    "labels": torch.tensor([2, 1, 2]),
    "scores": torch.tensor([0.9, 0.8, 0.3]),
}
NOTHING = {name: value[:0] for name, value in FOUND.items()}


class Spots(nn.Module):
    """A detector of one thing in each half: as likely as its half is bright, none below 0.05, the likelier first."""

    def __init__(self):
        super().__init__()
        self.look = nn.Conv2d(1, 1, 1)
        nn.init.ones_(self.look.weight)
        nn.init.zeros_(self.look.bias)

    def forward(self, images):
        found = []
        for seen in self.look(images):
            scores = torch.stack([half.mean() for half in seen[0].chunk(2, 1)]).clamp(0, 1)
            boxes = torch.tensor([[0.0, 0.0, 8.0, 16.0], [8.0, 0.0, 16.0, 16.0]])
            order = scores.argsort(descending=True)
            order = order[scores[order] > 0.05]
            found.append({"boxes": boxes[order], "labels": order + 1, "scores": scores[order]})
        return found


def test_the_score_is_that_of_the_likeliest_detection_of_the_label_that_overlaps():
    asked = Boxes(torch.tensor([[11.0, 10.0, 31.0, 30.0], [50.0, 50.0, 60.0, 61.0]]), torch.tensor([1, 2]))
    assert asked.value([FOUND, FOUND]).tolist() == pytest.approx([0.8, 0.3])
    assert asked.score([FOUND, FOUND]).sigmoid().tolist() == pytest.approx([0.8, 0.3])
    assert asked.loss([FOUND, FOUND]).tolist() == pytest.approx((-torch.tensor([0.8, 0.3]).logit()).tolist())
    assert asked.value([NOTHING, FOUND, FOUND, NOTHING]).tolist() == pytest.approx([0.0, 0.3, 0.8, 0.0])
    assert asked.select(torch.tensor([1])).value([FOUND]).tolist() == pytest.approx([0.3])
    strict = Boxes(torch.tensor([11.0, 10.0, 31.0, 30.0]), 1, overlap=0.95)
    assert strict.value([FOUND]).tolist() == [0.0]
    assert asked.describe() == ("1 in box 11 10 31 30", "2 in box 50 50 60 61")


def test_a_box_is_the_one_that_the_clean_answer_has_at_that_place():
    asked = Box(1).asked_of(OutputForm(), [FOUND], 1)
    assert asked.describe() == ("1 in box 1",)
    turned = {name: value.flip(0) for name, value in FOUND.items()}
    assert asked.value([turned, turned]).tolist() == pytest.approx([0.8, 0.8])


@pytest.mark.parametrize(
    ("target", "output", "told"),
    [
        (Box(3), [FOUND], r"Box\(3\) asks about detection 3 of sample 0, but the network finds 3"),
        (Box(0), torch.zeros(1, 3), "Box asks a detector"),
        (
            Boxes(torch.tensor([0.0, 0.0, 5.0, 5.0]), 2),
            [FOUND],
            "no detection of class 2 overlaps the box of sample 0 by 0.5",
        ),
    ],
)
def test_what_is_not_found_is_refused(target, output, told):
    with pytest.raises(TargetError, match=told):
        target.asked_of(OutputForm(), output, 1).check(output)


def test_boxes_and_labels_are_looked_at():
    with pytest.raises(TargetError, match="x0 < x1"):
        Boxes(torch.tensor([3.0, 0.0, 3.0, 5.0]), 1)
    with pytest.raises(TargetError, match="one for each of 1 boxes"):
        Boxes(torch.tensor([0.0, 0.0, 3.0, 5.0]), torch.tensor([1, 2]))
    with pytest.raises(TargetError, match="0 or more"):
        Box(-1)
    with pytest.raises(SettingError, match="overlap"):
        Box(0, overlap=0.0)


def test_what_is_found_is_summed_up_whatever_its_order():
    turned = {name: value.flip(0) for name, value in FOUND.items()}
    assert torch.allclose(summed_up([FOUND, NOTHING]), summed_up([turned, NOTHING]))
    assert detections_of(torch.zeros(3)) is None
    assert detections_of([]) is None


def test_bits_and_scores_lie_in_the_half_that_the_box_is_about():
    images = 0.2 + 0.6 * torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    images[0, :, :, :8] += 0.2
    images[1, :, :, 8:] += 0.2
    found = bitlens.IBA(Spots().eval(), "look", beta=0.01, smoothing=0.0).explain(images, Box(0))
    left, right = (half.flatten(1).sum(1) for half in found.map.chunk(2, 2))
    assert float(left[0]) > 50 * float(right[0])
    assert float(right[1]) > 50 * float(left[1])
    assert found.targets == ("1 in box 0", "2 in box 0")
    assert found.evidence.measure == "probability"
    covered = bitlens.method("occlusion-8", Spots().eval()).explain(
        images, Boxes(torch.tensor([0.0, 0.0, 8.0, 16.0]), 1)
    )
    assert bool((covered.map[:, :, 8:] == 0).all())
    assert float(covered.map[:, :, :8].abs().min()) > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*could not be replayed")
@pytest.mark.filterwarnings("ignore:.*answers otherwise for a sample alone")
def test_a_detector_of_torchvision_is_asked_about_its_boxes():
    from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn as detector

    torch.manual_seed(0)
    sizes = {"min_size": 64, "max_size": 64, "rpn_post_nms_top_n_test": 10, "box_detections_per_img": 5}
    network = detector(weights=None, weights_backbone=None, num_classes=4, box_score_thresh=0.0, **sizes).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        said = network(image)[0]
    found = bitlens.IBA(network, "backbone.body.6", beta=1.0, steps=2, noise_samples=2).explain(image, Box(1))
    assert found.map.shape == (1, 64, 64)
    assert float(found.evidence.before) == pytest.approx(float(said["scores"][1]), abs=1e-4)
    slopes = bitlens.method("saliency", network).explain(image, Box(1))
    assert slopes.map.shape == (1, 64, 64)
    assert bool(torch.isfinite(slopes.map).all())


def test_overlaps_are_those_of_torchvision():
    from torchvision.ops import box_iou

    corners = torch.rand(50, 2, 2, generator=torch.Generator().manual_seed(0)).sort(1).values.flatten(1)
    assert torch.allclose(overlaps(corners, corners[7]), box_iou(corners, corners[7:8])[:, 0])
