"""CVAT for video 1.1: tracks with keyframes, as XML or as the zip file that holds it."""
