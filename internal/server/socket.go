package server

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// peerKey is the context key of a connection's peer.
type peerKey struct{}

// listenAdmin opens the admin API's socket. Who may use it is decided for every
// request by the peer's uid; the directory decides who reaches it at all. If it
// admits a group, so does the socket, as far as this process may say so.
func listenAdmin(dir string) (net.Listener, error) {
	path := filepath.Join(dir, Socket)
	// unix(7): sun_path holds 108 bytes, the last of them zero.
	if len(path) > 107 {
		return nil, fmt.Errorf("the path of the state directory is too long for a socket in it (%s, at most 107 bytes): choose a shorter one", path)
	}
	// We hold the lock of the directory: a socket that is there is stale.
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("removing a stale socket: %w", err)
	}
	old := unix.Umask(0o177)
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("listening for the admin API: %w", err)
	}
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err == nil && stat.Mode&0o010 != 0 && os.Chown(path, -1, int(stat.Gid)) == nil {
		err = os.Chmod(path, 0o660)
		if err != nil {
			l.Close()
			return nil, fmt.Errorf("admitting the group of the state directory to the socket: %w", err)
		}
	}
	return l, nil
}

// withPeer puts the uid of a socket's peer into the context of its requests.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	conn, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil || credErr != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, cred.Uid)
}
