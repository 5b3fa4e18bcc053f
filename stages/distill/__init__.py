"""(4) From a teacher of many steps to a student of one: 3D-aware leap flow distillation (VideoScene, section 3).

leap_flow   the leap, the consistency function, the teacher's step, the loss: functions of their inputs
"""
