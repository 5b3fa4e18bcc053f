"""(4) From a teacher of many steps to a student of one: 3D-aware leap flow distillation (VideoScene, section 3.2).

teacher          the teacher's loss: v-prediction, first on noised truths, then on noised renders
leap_flow        the leap, the consistency function, the teacher's step, the loss
policy           DDPNet, which chooses the leap step (section 3.3); policy_training trains it
phases           the phases of a run and the loss of a step in each
model            what is trained, with one interface for both students
pixel_losses     the losses of a clip against the truth, in pixels
training_loop    optimiser, averaged weights, log; checkpoints saves and loads its state
recipe_file      the settings of a run, from the files in recipes/
starting_model   the network of a student and the weights that its teacher starts from
weights_folder   the weights that a phase leaves
clip_shards      training clips on disk; clips_of_worlds and clips_of_recordings make them
latents          latents of clips, kept on disk for a learned codec
preview          pictures and numbers that show how the training goes
workers          training in several processes; sharding divides the weights of a large network among them
prior_phases     the phases that train the prior (1), with the same loop
prior_losses     the losses of these phases; prior_start gives their first weights
prior_pairs      training pairs; prior_worlds and pairs_of_recordings make them
simulated_points what a matcher might find in the photographs of a world
"""
