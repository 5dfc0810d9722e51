"""What a library may do when it is imported, and what makes a process unfit for forking."""

import threading
import time

threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
