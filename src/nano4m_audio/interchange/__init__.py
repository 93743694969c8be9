"""Tokens and weights in the forms of the published nano4M-Audio, in and out."""

#: Our modalities and the folder or config name of each in the published data and model.
PUBLISHED_NAMES = {
    "rgb": "tok_rgb@196",
    "audio": "tok_audio@512",
    "depth": "tok_depth@196",
    "normals": "tok_normal@196",
    "caption": "scene_desc",
}
