"""(4) From a teacher of many steps to a student of one: 3D-aware leap flow distillation (VideoScene, section 3).

teacher     v-prediction on truths, then on renders          leap_flow   the leap, the consistency function, the teacher's step, the loss
regression  straight to the truth, the floor to beat         policy      DDPNet: which step to leap to
phases      the losses of a step, phase after phase          policy_training  the policy's phase
model       what is trained, alike for both students         pixel_losses     of a clip against the truth
training_loop  optimiser, averages, log                      checkpoints      of a run
recipe_file the settings, which lie in recipes/              weights_folder   what a phase leaves
clip_shards clips on disk; clips_of_worlds, clips_of_recordings: where they come from
preview     pictures and figures of the run                  workers          several processes
"""
