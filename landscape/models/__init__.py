"""Models by name: one file per family.

======================  =========================================================================================
small, for quick runs   ``mlp``, ``smallcnn``, ``cnn1d``, ``lenet``
VGG                     ``vgg11_bn``, ``vgg13_bn``, ``vgg16_bn``, ``vgg19_bn``, ``vgg11``;
                        ``vgg5_stable``
ResNet                  ``resnet20``, ``resnet32``, ``resnet56``; ``resnet18``, ``resnet34``, ``resnet50``,
                        ``resnet101``, ``resnet18_nobn``
PreActResNet            ``preactresnet18``, ``preactresnet34``, ``preactresnet50``, ``preactresnet101``,
                        ``preactresnet152``
wide ResNet             ``wrn16-4``, ``wrn16-8``, ``wrn22-8``, ``wrn28-2``, ``wrn28-10``, ``wrn40-10``
PyramidNet              ``pyramidnet110-48``, ``pyramidnet110-84``, ``pyramidnet110-270``, ``pyramidnet164-48``,
                        ``pyramidnet164-270``, ``pyramidnet272-200``
Shake-Shake             ``shakeshake26-96``
torchvision's           ``torchvision:NAME``, for example ``torchvision:resnet18``
your own                ``module:function``, also from the working directory
======================  =========================================================================================

All take ``classes`` and ``input_shape``; ``MODELS[name].options`` lists the rest.
"""

from landscape.models.registry import MODELS, ModelSpec, build_model

__all__ = ["MODELS", "ModelSpec", "build_model"]
