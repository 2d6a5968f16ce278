package server

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"mintmark/internal/access"
)

// peerKey is the context key of a connection's peer.
type peerKey struct{}

// listenAdmin opens the admin API's socket. Its mode keeps other users out,
// and every connection's peer is checked besides.
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

// peer admits the user that runs the server, and root; nobody else.
func peer(r *http.Request) (access.Principal, bool, error) {
	uid, ok := r.Context().Value(peerKey{}).(uint32)
	if !ok || (uid != 0 && int(uid) != os.Getuid()) {
		return access.Principal{}, false, nil
	}
	return owner(principal(uid)), true, nil
}

// owner may do everything.
func owner(name string) access.Principal {
	return access.Principal{Name: name, Roles: access.Roles}
}

// principal names a local user in records.
func principal(uid uint32) string {
	if u, err := user.LookupId(strconv.Itoa(int(uid))); err == nil {
		return "local:" + u.Username
	}
	return "local:uid-" + strconv.Itoa(int(uid))
}
