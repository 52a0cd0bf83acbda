"""Image CNNs: the table of backbones, the frozen CNN and its inverse.

torchvision and timm are imported where a CNN is built, so that translating without images needs neither.
"""
