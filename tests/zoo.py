"""The architectures that the eNTK is tested and timed on, each with a small image size that it can
take."""

ZOO = {
    "resnet18": 32,
    "resnet50": 32,
    "resnetv2_50": 32,
    "wide_resnet50_2": 32,
    "resnext50_32x4d": 32,
    "tf_efficientnet_lite0": 32,
    "efficientnet_b0": 32,
    "mobilenetv3_small_100": 32,
    "regnety_004": 32,
    "densenet121": 32,
    "convnext_atto": 32,
    "convnextv2_atto": 32,
    "nfnet_l0": 32,
    "vit_tiny_patch16_224": 32,
    "deit3_small_patch16_224": 32,
    "swin_tiny_patch4_window7_224": 56,
    "mixer_s32_224": 64,
    "beit_base_patch16_224": 32,
    "eva02_tiny_patch14_224": 28,
    "xcit_nano_12_p16_224": 32,
    "levit_128": 64,
    "coatnet_nano_rw_224": 64,
    "maxvit_rmlp_pico_rw_256": 64,
    "mobilevit_s": 64,
    "cait_xxs24_224": 32,
    "vgg11": 32,
}

FAMILIES = {
    "test_byobnet": 32,
    "test_mambaout": 32,
    "test_vit_relpos": 32,
    "cspnext_tiny": 32,
    "cs3darknet_s": 32,
    "efficientvit_b0": 32,
    "efficientvit_m0": 32,
    "gmlp_ti16_224": 32,
    "inception_next_atto": 32,
    "mobilevit_xxs": 32,
    "starnet_s050": 32,
}
"""The smallest architectures of further families of timm; `make bench BENCH=entk_zoo ALL=1` checks
all of them."""

REFUSED: dict[str, str] = {}
"""Architectures of timm whose kernel is refused, each with the reason."""
