"""Measures of how good frames are.

Against the true frames: image (PSNR, SSIM), lpips, fvd (on features of i3d). Over time: temporal. Against the cameras:
camera_consistency. network_files loads the weights of the networks that measure.
"""
