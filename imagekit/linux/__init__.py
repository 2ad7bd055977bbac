"""System calls under their manual-page names; the only place with ctypes."""
