// Package pgtest starts PostgreSQL for tests, as Debian packages it. Only tests
// import it.
package pgtest

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// Role owns the databases and needs no password; GuardedRole may use them and
// authenticates with Password.
const (
	Role        = "mintmark"
	GuardedRole = "guarded"
	Password    = "correct horse"
)

// Server is a running PostgreSQL. It listens on a Unix socket in a directory of
// its own, and on no port. Its methods are not for concurrent use, except
// NewDatabase.
type Server struct {
	bin, dir  string
	as        *syscall.Credential // nil for the test's own user
	watcher   *exec.Cmd
	alive     io.Closer // the watcher's standard input, which nobody may collect as garbage
	postgres  *exec.Cmd
	ended     chan struct{} // closed when postgres has
	databases atomic.Int64
}

var (
	once      sync.Once
	shared    *Server
	sharedErr error
)

// Start returns the one server of the test binary, which ends with it, also
// when it is killed. It skips the test where PostgreSQL is not installed.
func Start(t testing.TB) *Server {
	t.Helper()
	bin := find(t)
	once.Do(func() { shared, sharedErr = newServer(bin) })
	if sharedErr != nil {
		t.Fatal(sharedErr)
	}
	return shared
}

// New starts a server that the test may kill. It ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s, err := newServer(find(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.alive.Close()
		s.watcher.Wait()
	})
	return s
}

// find returns the directory of PostgreSQL's programs.
func find(t testing.TB) string {
	t.Helper()
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.SortFunc(dirs, func(a, b string) int { return version(b) - version(a) })
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err == nil {
			return dir
		}
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		t.Skip("PostgreSQL is not installed")
	}
	return filepath.Dir(path)
}

func version(dir string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
	return n
}

// watch waits until its standard input ends, which is when the test binary
// does, ends the server if it still runs and removes the directory.
const watch = `cat >/dev/null
if pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && [ "$(readlink "/proc/$pid/cwd")" = "$1/data" ]; then
	kill -QUIT "$pid"
	while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
fi
rm -rf "$1"
`

func newServer(bin string) (*Server, error) {
	s := &Server{bin: bin}
	var err error
	if s.as, err = unprivileged(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp(memory(), "pgtest"); err != nil {
		return nil, err
	}
	if s.as != nil {
		if err := os.Chown(s.dir, int(s.as.Uid), int(s.as.Gid)); err != nil {
			return nil, err
		}
	}
	s.watcher = s.command("/bin/sh", "-c", watch, "sh", s.dir)
	if s.alive, err = s.watcher.StdinPipe(); err != nil {
		return nil, err
	}
	if err := s.watcher.Start(); err != nil {
		return nil, err
	}
	// Without syncing the files that nothing can be lost from yet.
	initdb := s.command(filepath.Join(bin, "initdb"), "-D", s.data(), "-U", Role, "-E", "UTF8", "--locale=C", "-A", "trust", "-N")
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	hba := "local all " + GuardedRole + " scram-sha-256\nlocal all all trust\n"
	if err := os.WriteFile(filepath.Join(s.data(), "pg_hba.conf"), []byte(hba), 0o600); err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		return nil, err
	}
	return s, s.exec("CREATE ROLE " + GuardedRole + " LOGIN SUPERUSER PASSWORD '" + Password + "'")
}

// memoryNeeded is what the file system in memory must have free: the write-ahead log alone
// may take a third of it.
const memoryNeeded = 2 << 30

// memory is the directory of a file system in memory, or the default of temporary files
// if there is none with room. Most of what tests wait for is the disk, and no
// test takes its power away: what PostgreSQL has written outlives the death of its
// processes there as on a disk. It stays at fsync = on, because servers refuse anything else.
func memory() string {
	const dir = "/dev/shm"
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil || fs.Type != tmpfsMagic || uint64(fs.Bavail)*uint64(fs.Bsize) < memoryNeeded {
		return ""
	}
	return dir
}

const tmpfsMagic = 0x01021994 // TMPFS_MAGIC, statfs(2)

// unprivileged is who PostgreSQL runs as if the tests run as root, whom it
// refuses.
func unprivileged() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(uerr, gerr)
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no user postgres or nobody")
}

// command prepares a program in a process group of its own, so that an
// interrupt at the terminal is left to the watcher.
func (s *Server) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.as, Setpgid: true}
	return cmd
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// start starts the server and waits until it answers.
func (s *Server) start() error {
	output, err := os.OpenFile(filepath.Join(s.dir, "output"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer output.Close()
	cmd := s.command(filepath.Join(s.bin, "postgres"), "-D", s.data(), "-c", "listen_addresses=", "-c", "unix_socket_directories="+s.dir,
		"-c", "max_connections=200", "-c", "fsync=on", "-c", "max_wal_size=512MB")
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	s.postgres, s.ended = cmd, ended
	for end := time.Now().Add(30 * time.Second); ; {
		if err = s.exec("SELECT 1"); err == nil {
			return nil
		}
		if time.Now().After(end) {
			cmd.Process.Kill()
			<-ended
		}
		select {
		case <-ended:
		case <-time.After(20 * time.Millisecond):
			continue
		}
		break
	}
	said, _ := os.ReadFile(output.Name())
	return fmt.Errorf("starting PostgreSQL: %w\n%s", err, bytes.TrimSpace(said))
}

// url names a database of the server.
func (s *Server) url(role, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(role), Path: "/" + database, RawQuery: url.Values{"host": {s.dir}}.Encode()}
	return u.String()
}

// Socket is the path of the server's Unix socket.
func (s *Server) Socket() string { return filepath.Join(s.dir, ".s.PGSQL.5432") }

func (s *Server) exec(text string) error {
	db, err := sql.Open("pgx", s.url(Role, "postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err = db.ExecContext(ctx, text)
	return err
}

// Exec runs a statement as the owner of everything.
func (s *Server) Exec(t testing.TB, text string) {
	t.Helper()
	if err := s.exec(text); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// NewDatabase makes an empty database and returns its URL. Its text sorts as
// in a dictionary, which no query may rely on.
func (s *Server) NewDatabase(t testing.TB) string {
	t.Helper()
	name := "test" + strconv.FormatInt(s.databases.Add(1), 10)
	s.Exec(t, "CREATE DATABASE "+name+" TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
	return s.url(Role, name)
}

// Guarded returns the URL of the same database for the role that needs a
// password.
func (s *Server) Guarded(t testing.TB, database string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	return s.url(GuardedRole, strings.TrimPrefix(u.Path, "/"))
}

// Cut ends the connections that match a condition on pg_stat_activity, and
// says how many there were.
func (s *Server) Cut(t testing.TB, condition string) int {
	t.Helper()
	db, err := sql.Open("pgx", s.url(Role, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	n := 0
	err = db.QueryRowContext(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND (`+condition+`)`).Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Kill ends the server and all its processes as a crash does.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	pids := append(childrenOf(s.postgres.Process.Pid), s.postgres.Process.Pid)
	slices.Reverse(pids) // first the one that would start others
	for _, pid := range pids {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	<-s.ended
	s.postgres = nil
}

// Restart starts the server again after Kill.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	// It refuses while a process of the one before is left.
	var err error
	for range 50 {
		if err = s.start(); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal(err)
}

// childrenOf lists the processes that a process has started.
func childrenOf(parent int) []int {
	var pids []int
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// After the name, which may hold anything: state and parent.
		_, rest, _ := strings.Cut(string(b[max(0, bytes.LastIndexByte(b, ')')):]), " ")
		fields := strings.Fields(rest)
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			pids = append(pids, pid)
		}
	}
	return pids
}
