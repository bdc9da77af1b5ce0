"""A demo bot: a real process that "sends" an order five times a second by writing a line to the file it is given.

It does what a bot must do before it trades: it asks `blaidctl guard`. It trades nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from blaidctl.core.clock import pause

ORDER_EVERY_S = 0.2


def main(orders: Path) -> int:
    """Ask the guard once, then write orders until a signal ends the process."""
    bot, instance = os.environ["BLAIDCTL_BOT_ID"], os.environ["BLAIDCTL_INSTANCE_ID"]
    asked = [sys.executable, "-m", "blaidctl", "guard", bot, "--instance", instance]
    if subprocess.run(asked, check=False, stdout=subprocess.DEVNULL).returncode:  # noqa: S603 - our own program
        return 1
    count = 0
    while True:
        count += 1
        with orders.open("a", encoding="utf-8") as file:
            file.write(f"{bot} order {count}: BUY 1 ES @ MARKET (demo)\n")
        pause(ORDER_EVERY_S)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
