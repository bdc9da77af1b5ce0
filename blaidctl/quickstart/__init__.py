"""A sandbox fleet that shows the main job on this machine."""
