import _socket,sys
# Runs in an exec: hands one request from standard input to the agent and its reply to standard
# output. The request is framed by its length, because an exec cannot close standard input; the
# agent frames its reply by length and digest, because an exec can be cut off without an error.
# Every exec starts an interpreter, so this imports next to nothing: _socket is what socket wraps.
i,o=sys.stdin.buffer,sys.stdout.buffer
n=int(i.readline())
b=i.read(n)
s=_socket.socket(_socket.AF_UNIX)
s.settimeout(float(sys.argv[1]))
s.connect("\0zerotrust-"+sys.argv[2])
s.sendall(b)
s.shutdown(1)
while 1:
    d=s.recv(65536)
    if not d:break
    o.write(d)
o.flush()
