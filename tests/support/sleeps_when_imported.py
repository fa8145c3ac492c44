"""A module whose import takes 0.15 s."""

import time

time.sleep(0.15)
