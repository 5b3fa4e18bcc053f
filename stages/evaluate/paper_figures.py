"""Figures that the paper reports (arXiv 2504.01956). Tables show them next to ours, marked as quoted.

The paper does not state its FVD features or its number of clips, so its FVD cannot be compared with any other. The
tables say so.
"""

# Table 1, RealEstate10K: method -> {steps: (FVD, aesthetic quality, subject consistency, background consistency)}.
TABLE_1 = {
    "Stable Video Diffusion": {
        50: (424.68, 0.4906, 0.9305, 0.9287),
        4: (541.89, 0.4040, 0.8728, 0.8952),
        1: (1220.80, 0.2981, 0.7934, 0.8817),
    },
    "DynamiCrafter": {
        50: (458.27, 0.5336, 0.8898, 0.9349),
        4: (512.50, 0.4899, 0.8661, 0.9098),
        1: (846.85, 0.3737, 0.7474, 0.8627),
    },
    "CogVideoX-5B": {
        50: (521.04, 0.5368, 0.9179, 0.9460),
        4: (662.13, 0.4486, 0.8489, 0.9168),
        1: (753.02, 0.3987, 0.7842, 0.8976),
    },
    "VideoScene": {
        50: (98.67, 0.5570, 0.9320, 0.9407),
        4: (175.84, 0.5357, 0.9269, 0.9431),
        1: (103.42, 0.5416, 0.9259, 0.9461),
    },
}
# Table 2, ACID, in the same form. "RE10K": the method was fine-tuned on RealEstate10K.
TABLE_2 = {
    "DynamiCrafter": {50: (242.76, 0.5191, 0.9464, 0.9527), 1: (453.24, 0.4126, 0.8136, 0.8841)},
    "CogVideoX-5B": {50: (867.31, 0.5212, 0.9628, 0.9720), 1: (537.48, 0.4614, 0.8452, 0.9349)},
    "DynamiCrafter (RE10K)": {50: (96.10, 0.5096, 0.9524, 0.9545), 1: (595.87, 0.4013, 0.8202, 0.8917)},
    "CogVideoX-5B (RE10K)": {50: (114.04, 0.5491, 0.9637, 0.9593), 1: (464.87, 0.4492, 0.8406, 0.9214)},
    "VideoScene": {50: (73.93, 0.5602, 0.9598, 0.9573), 1: (121.93, 0.5274, 0.9395, 0.9494)},
}
# Table 3, ablation: row -> the same four figures.
TABLE_3 = {
    "base render": (171.38, 0.4769, 0.8794, 0.9240),
    "without leap flow": (543.53, 0.4092, 0.7842, 0.9160),
    "without DDPNet": (106.28, 0.4897, 0.8850, 0.9205),
    "full": (97.53, 0.5306, 0.9139, 0.9440),
}
# Table 4, from two input views: method -> (PSNR, SSIM, LPIPS) on Mip-NeRF 360 and on Tanks and Temples.
TABLE_4 = {
    "3DGS": ((10.36, 0.108, 0.776), (9.57, 0.108, 0.779)),
    "SparseNeRF": ((11.47, 0.190, 0.716), (9.23, 0.191, 0.632)),
    "DNGaussian": ((10.81, 0.133, 0.727), (10.23, 0.156, 0.643)),
    "InstantSplat": ((11.77, 0.171, 0.715), (10.98, 0.381, 0.619)),
    "VideoScene": ((13.37, 0.283, 0.550), (14.28, 0.394, 0.564)),
}
# Table 7: memory in GB to train each part, on one A100.
TABLE_7 = {"training the backbone": 66.0, "leap flow distillation": 10.0, "DDPNet": 0.02}
# Table 6: method -> (seconds, number of frames).
TABLE_6 = {
    "Stable Video Diffusion": (933.89, 25),
    "DynamiCrafter": (21.14, 16),
    "CogVideoX-5B": (179.45, 49),
    "ViewCrafter": (206.13, 25),
    "VideoScene": (2.98, 49),
}
