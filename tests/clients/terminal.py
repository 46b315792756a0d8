"""Runs a program as if somebody sat at a terminal and typed what stands on the standard input: terminal.py PROGRAM ARGUMENT..."""

import os
import pty
import sys
import threading

typed = sys.stdin.buffer.read()
child, terminal = pty.fork()
if child == 0:
    os.environ["TERM"] = "dumb"
    os.execv(sys.argv[1], sys.argv[1:])


def type_it():
    left = typed
    while left:
        left = left[os.write(terminal, left[:500]):]


# The program may say much before it has read everything.
threading.Thread(target=type_it, daemon=True).start()
while True:
    try:
        said = os.read(terminal, 65536)
    except OSError:  # The terminal is closed.
        break
    if not said:
        break
    os.write(1, said)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
