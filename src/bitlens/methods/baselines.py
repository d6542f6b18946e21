"""The baselines: what bottlenecks are compared with."""

from functools import partial

from bitlens.baselines.attention import AttentionRollout, GradientAttentionRollout
from bitlens.baselines.deep_shap import DeepSHAP
from bitlens.baselines.extremal import ExtremalPerturbation
from bitlens.baselines.gradcam import GradCAM, LayerCAM
from bitlens.baselines.gradient import Gradient, GradientXInput, IntegratedGradients, Saliency, SmoothGrad
from bitlens.baselines.guided import GuidedBackprop, GuidedGradCAM
from bitlens.baselines.lrp import LRP
from bitlens.baselines.occlusion import Occlusion
from bitlens.baselines.pattern_attribution import PatternAttribution
from bitlens.baselines.random import Random
from bitlens.baselines.rise import RISE
from bitlens.baselines.surrogate import LIME, KernelSHAP
from bitlens.methods.entry import MethodEntry

__all__ = ["BASELINES"]

BASELINES: tuple[MethodEntry, ...] = (
    MethodEntry(
        name="random",
        summary="all pixels in random order: what any method must beat",
        paper="Schulz et al., Restricting the Flow (ICLR 2020)",
        unit="score",
        passes="1 full forward",
        build=Random,
    ),
    MethodEntry(
        name="occlusion-8",
        summary="how far the score falls when a patch of 8 x 8 pixels is covered with the image's mean colour",
        paper="Zeiler & Fergus, Visualizing and Understanding Convolutional Networks (ECCV 2014)",
        unit="score",
        passes="1 full forward, 1 for each patch (784 at 224 x 224)",
        build=partial(Occlusion, window=8),
        signed=True,
    ),
    MethodEntry(
        name="occlusion-14",
        summary="how far the score falls when a patch of 14 x 14 pixels is covered with the image's mean colour",
        paper="Zeiler & Fergus, Visualizing and Understanding Convolutional Networks (ECCV 2014)",
        unit="score",
        passes="1 full forward, 1 for each patch (256 at 224 x 224)",
        build=partial(Occlusion, window=14),
        signed=True,
    ),
    MethodEntry(
        name="gradient",
        summary="the gradient of the score, mean over colours",
        paper="Baehrens et al., How to explain individual classification decisions (JMLR 2010)",
        unit="score",
        passes="2 full forward, 1 backward",
        build=Gradient,
        signed=True,
    ),
    MethodEntry(
        name="saliency",
        summary="the gradient's largest absolute value over colours",
        paper="Simonyan et al., Deep Inside Convolutional Networks (ICLR workshop 2014)",
        unit="score",
        passes="2 full forward, 1 backward",
        build=Saliency,
    ),
    MethodEntry(
        name="gradient-x-input",
        summary="the gradient times the image, mean over colours",
        paper="Shrikumar et al., Not Just a Black Box (2016)",
        unit="score",
        passes="2 full forward, 1 backward",
        build=GradientXInput,
        signed=True,
    ),
    MethodEntry(
        name="guided-backprop",
        summary="the gradient where every ReLU hands back positive parts alone, largest over colours",
        paper="Springenberg et al., Striving for Simplicity (ICLR workshop 2015)",
        unit="score",
        passes="2 full forward, 1 backward",
        build=GuidedBackprop,
        supports="networks with ReLUs (leaky and bounded ones too)",
    ),
    MethodEntry(
        name="integrated-gradients",
        summary="the gradients between a grey image and this one, mean, times their difference",
        paper="Sundararajan et al., Axiomatic Attribution for Deep Networks (ICML 2017)",
        unit="score",
        passes="51 full forward, 50 backward",
        build=IntegratedGradients,
        signed=True,
    ),
    MethodEntry(
        name="smoothgrad",
        summary="the gradient's size on noisy copies of the image, mean",
        paper="Smilkov et al., SmoothGrad (2017)",
        unit="score",
        passes="51 full forward, 50 backward",
        build=SmoothGrad,
    ),
    MethodEntry(
        name="grad-cam",
        summary="the last layer's features, each weighted by its channel's mean gradient",
        paper="Selvaraju et al., Grad-CAM (ICCV 2017)",
        unit="score",
        passes="2 full forward, 2 forward and 1 backward behind the layer",
        build=GradCAM,
        supports="networks with a layer that has places; vision transformers too",
    ),
    MethodEntry(
        name="guided-grad-cam",
        summary="guided backpropagation times Grad-CAM",
        paper="Selvaraju et al., Grad-CAM (ICCV 2017)",
        unit="score",
        passes="3 full forward, 1 backward, 2 forward and 1 backward behind the layer",
        build=GuidedGradCAM,
        supports="networks with ReLUs and a layer that has places",
    ),
    MethodEntry(
        name="lrp-alpha1-beta0",
        summary="the score, shared out from layer to layer in proportion to what speaks for each neuron (patented)",
        paper="Bach et al., On Pixel-Wise Explanations by Layer-Wise Relevance Propagation (PLoS ONE 2015)",
        unit="score",
        passes="2 full forward, 1 backward (four times the work of a gradient's)",
        build=LRP,
        signed=True,
        supports="networks of convolutions and linear layers, without attention, layer or group norm",
    ),
    MethodEntry(
        name="lrp-alpha0-beta-1-eps5",
        summary="the score, shared out from layer to layer in proportion to what speaks against each neuron (patented)",
        paper="Bach et al., On Pixel-Wise Explanations by Layer-Wise Relevance Propagation (PLoS ONE 2015)",
        unit="score",
        passes="2 full forward, 1 backward (four times the work of a gradient's)",
        build=partial(LRP, rule="alpha0-beta-1-eps5"),
        signed=True,
        supports="networks of convolutions and linear layers, without attention, layer or group norm",
    ),
    MethodEntry(
        name="pattern-attribution",
        summary="the gradient with weights times patterns, what each neuron's output tells of its input",
        paper="Kindermans et al., PatternNet and PatternAttribution (ICLR 2018)",
        unit="score",
        passes="2 full forward, 1 backward",
        build=PatternAttribution,
        learns="patterns",
        signed=True,
        supports="networks of convolutions and linear layers, without nn.MultiheadAttention and transposed convolutions",
    ),
    MethodEntry(
        name="deep-shap",
        summary="the score's difference from that of a grey image, divided by DeepLIFT's rescale rule",
        paper="Lundberg & Lee, A Unified Approach to Interpreting Model Predictions (NeurIPS 2017)",
        unit="score",
        passes="3 full forward, 1 backward",
        build=DeepSHAP,
        signed=True,
        supports="networks of the operations that PyTorch names; attention and normalisation by quadrature",
    ),
    MethodEntry(
        name="extremal-perturbation",
        summary="the smooth mask over 10 % of the image that keeps the score highest when all else is blurred",
        paper="Fong et al., Understanding Deep Networks via Extremal Perturbations (ICCV 2019)",
        unit="score",
        passes="801 full forward, 800 backward",
        build=ExtremalPerturbation,
    ),
    MethodEntry(
        name="rise",
        summary="the mean probability under random masks that show a pixel",
        paper="Petsiuk et al., RISE: Randomized Input Sampling for Explanation (BMVC 2018)",
        unit="score",
        passes="1,001 full forward",
        build=RISE,
    ),
    MethodEntry(
        name="lime",
        summary="what each cell of a grid adds to the score near this image, by a linear model",
        paper="Ribeiro et al., Why Should I Trust You? (KDD 2016)",
        unit="score",
        passes="1,001 full forward",
        build=LIME,
        signed=True,
    ),
    MethodEntry(
        name="kernel-shap",
        summary="the Shapley value of each cell of a grid, by a linear model",
        paper="Lundberg & Lee, A Unified Approach to Interpreting Model Predictions (NeurIPS 2017)",
        unit="score",
        passes="1,003 full forward",
        build=KernelSHAP,
        signed=True,
    ),
    MethodEntry(
        name="layer-cam",
        summary="the last layer's features, each weighted by its own gradient where that is positive",
        paper="Jiang et al., LayerCAM (TIP 2021)",
        unit="score",
        passes="2 full forward, 2 forward and 1 backward behind the layer",
        build=LayerCAM,
        supports="networks with a layer that has places; vision transformers too",
    ),
    MethodEntry(
        name="attention-rollout",
        summary="what of each patch the attention of all layers brings to the tokens that the head reads",
        paper="Abnar & Zuidema, Quantifying Attention Flow in Transformers (ACL 2020)",
        unit="score",
        passes="2 full forward, 1 backward behind the last attention",
        build=AttentionRollout,
        supports="vision transformers with attention between all patches (ViT, DeiT, BEiT, DINO, ...)",
    ),
    MethodEntry(
        name="gradient-attention-rollout",
        summary="attention rollout, each head weighted by what it does for the score",
        paper="Chefer et al., Generic Attention-Model Explainability (ICCV 2021)",
        unit="score",
        passes="2 full forward, 1 backward",
        build=GradientAttentionRollout,
        supports="vision transformers with attention between all patches (ViT, DeiT, BEiT, DINO, ...)",
    ),
)
