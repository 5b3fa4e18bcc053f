"""Reading and writing files. No other package knows a file format or another convention for camera axes.

images          photographs and PNG                             publish     results that appear whole or not at all
depth_maps      depth as 16-bit PNG                             documents   JSON, YAML, hashes
exif            focal lengths of photographs                    transforms  nerfstudio cameras (OpenGL camera-to-world)
video           H.264 mp4                                       colmap      COLMAP models (world-to-camera)
ply             Gaussians, as 3DGS viewers read them            realestate  chunks of RealEstate10K and ACID
image_decoding  untrusted image files                           clip_folder frames or photographs with cameras
settings        dataclasses from plain values, checked key by key
weight_tensors  network weights, read without running code from the file

Cameras from transforms.json and COLMAP are float64, like these files. Views and clips from a folder are float32.
"""
