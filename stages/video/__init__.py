"""(3) The video diffusion backbones and their codecs: `small`, trained here, and CogVideoX-5B-I2V with VideoScene's weights.

schedule    the noise schedule and its parameterisations      one_step    render latent -> noise -> one call -> x0
small
codec       clip <-> latent, nothing lost                     conditions  what the network knows beside the noised latent
small       the network                                       small_student  a clip in, a repaired clip out
small_files the files of its weights
cogvideox-5b
cogvideox   the network, its codec, where they live in memory checkpoint  the files of the weights, read strictly
student     a clip in, a repaired clip out
"""
