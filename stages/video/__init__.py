"""(3) The video backbones and their codecs: `small`, trained here, and CogVideoX-5B-I2V with VideoScene's weights.

schedule           the noise schedule and its parameterisations; timesteps says how many it has
one_step           the render's latent, noised, and one call of the network -> the clean latent
warp               the photographs as the clip's cameras see them

small_codec        clip <-> latent, without loss
small_condition    what the network gets besides the noised latent
small_network      the network
small_blocks       the network on one clip without gradients: latent frame by latent frame, in less memory
small_files        the files of its weights
small_student      a clip in, a repaired clip out

cogvideox_network  the network and its codec, and where they lie in memory
cogvideox_files    the files of its weights, read strictly
cogvideox_student  a clip in, a repaired clip out
"""
