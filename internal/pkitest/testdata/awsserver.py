"""Runs the aws command for whoever asks at the socket of argv[1], each time in a process
of its own that has loaded the command's code before. Ends when standard input does."""
import json
import os
import select
import shutil
import signal
import socket
import sys

before = dict(os.environ)
import awscli.clidriver

loaded = {k: v for k, v in os.environ.items() if before.get(k) != v}  # says where its data is


def read(conn, n):
    data = b""
    while len(data) < n:
        part = conn.recv(n - len(data))
        if not part:
            os._exit(1)
        data += part
    return data


def command(arguments, directory, environment, fds):
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    os.environ.update(loaded)
    sys.argv = ["aws"] + arguments
    try:
        code = awscli.clidriver.main()
    except SystemExit as e:
        code = e.code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def serve(conn):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, fds, _, _ = socket.recv_fds(conn, 4, 3)
    head += read(conn, 4 - len(head))
    request = json.loads(read(conn, int.from_bytes(head, "big")))
    child = os.fork()
    if child == 0:
        command(*request, fds)
    _, status = os.waitpid(child, 0)
    conn.sendall(bytes([os.waitstatus_to_exitcode(status) & 255]))
    os._exit(0)


listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(64)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
while True:
    ready, _, _ = select.select([listener, sys.stdin], [], [])
    if sys.stdin in ready:
        shutil.rmtree(os.path.dirname(sys.argv[1]), ignore_errors=True)
        break
    conn, _ = listener.accept()
    if os.fork() == 0:
        listener.close()
        serve(conn)
    conn.close()
