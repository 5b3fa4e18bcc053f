"""(4) From a teacher of many steps to a student of one: 3D-aware leap flow distillation (VideoScene, section 3).

teacher     v-prediction on truths, then on renders          leap_flow   the leap, the consistency function, the teacher's step, the loss
regression  straight to the truth, the floor to beat         policy      DDPNet: which step to leap to
phases      the losses of a step, phase after phase          bandit      the policy's phase
train       the loop: optimiser, averages, checkpoints       config      recipes, which lie in recipes/
data        clips on disk; clips, posed: where they come from
"""
