"""(3) The video diffusion backbone and its codec: CogVideoX-5B-I2V with VideoScene's weights, one step.

schedule    the noise schedule and its parameterisations      cogvideox    the network, its codec and where they live in memory
one_step    render latent -> noise -> one call -> x0          checkpoint   the files of the weights, read strictly
student     a clip in, a repaired clip out
"""
