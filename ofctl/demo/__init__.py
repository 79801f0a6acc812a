"""`make demo`: the main job on a private switch, every claim of it observed."""
