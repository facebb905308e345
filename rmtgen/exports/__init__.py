"""A run's probe as a folder that predicts on new images, without the run.

| module | content |
|---|---|
| `quality` | the ridge of a run, and what the run says of the probe there |
| `description` | rmtgen.json: what an export is, written and read back |
| `probe` | `load_probe`: the network of an export, its transform and its classes |
| `pictures` | the images that files, folders and archives hold |
| `predictions` | class and scores of images, damaged ones named |
| `card` | README.md: the model card |
| `onnx_file` | the network as ONNX, checked |
| `writing` | `export_probe`: from a run to a folder |
"""
