"""Surface normals by DSINE v02 (Bae and Davison, CVPR 2024)."""
