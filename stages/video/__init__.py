"""(3) The video diffusion backbones and their codecs: `small`, trained here, and CogVideoX-5B-I2V with VideoScene's weights.

schedule           the noise schedule and its parameterisations    one_step       render latent -> noise -> one call -> x0
warp               the photographs seen from the clip's cameras
small_codec        clip <-> latent, nothing lost                   small_condition    what the network knows beside the noised latent
small_network      the network                                     small_student      a clip in, a repaired clip out
small_files        the files of its weights
cogvideox_network  the network, its codec, where they live         cogvideox_files    the files of the weights, read strictly
cogvideox_student  a clip in, a repaired clip out
"""
