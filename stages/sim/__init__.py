"""LIBERO as srpo runs it: tasks, exact fast stepping, looks. Knows no policy.

mujoco is imported here first, with its own choice of an OpenGL library off: that choice ends in a raw traceback where
the library is missing. `stages.sim.looks.gl` makes it when something is drawn, and says what to install. MuJoCo's
warnings go to the log instead of a file MUJOCO_LOG.TXT in the current folder.
"""

import logging
import os

_wish = os.environ.get("MUJOCO_GL")
os.environ["MUJOCO_GL"] = "disabled"
try:
    import mujoco
finally:
    if _wish is None:
        del os.environ["MUJOCO_GL"]
    else:
        os.environ["MUJOCO_GL"] = _wish

mujoco.set_mju_user_warning(logging.getLogger("mujoco").warning)
