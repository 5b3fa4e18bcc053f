"""Files in and out: the only place where axes flip and the only place that knows a file format.

images          photographs, PNG; image_decoding: with limits    publish     atomic results
depth_maps      depth as 16-bit PNG                              documents   JSON, YAML, hashes
exif            focal lengths of photographs                     transforms  nerfstudio cameras (OpenGL camera-to-world)
video           H.264 mp4                                        colmap      COLMAP models (world-to-camera)
ply             Gaussians, as 3DGS viewers read them             realestate  chunks of RealEstate10K and ACID
clip_folder     folders of frames or photographs with their cameras
weight_tensors  weights of networks, nothing in them executed

Cameras read from transforms.json or COLMAP are float64, as written there; Views and Clips read from a folder are float32.
"""
