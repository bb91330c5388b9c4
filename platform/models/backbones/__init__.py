"""The network backbones of classifiers and segmenters, each with the four stages c1 to c4."""

from .base import STAGES, Backbone
from .convnets import VGG16, MobileNetV2, ResNet, Small
from .registry import BACKBONES, build, check_stride, outline
from .swin import DROP_PATH, Swin
from .wide_resnet import WideResNet38

__all__ = [
    "BACKBONES",
    "DROP_PATH",
    "STAGES",
    "VGG16",
    "Backbone",
    "MobileNetV2",
    "ResNet",
    "Small",
    "Swin",
    "WideResNet38",
    "build",
    "check_stride",
    "outline",
]
