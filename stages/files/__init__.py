"""Files in and out: the only place where axes flip and the only place that knows a file format.

images      photographs, PNG, depth PNG           publish     atomic results, JSON, hashes
video       H.264 mp4                             transforms  nerfstudio cameras (OpenGL camera-to-world)
ply         Gaussians, as 3DGS viewers read them  colmap      COLMAP models (world-to-camera)
clip        folders of frames or photographs with their cameras

Cameras read from transforms.json or COLMAP are float64, as written there; Views and Clips read from a folder are float32.
"""
