package pgtest

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

const childEnv = "PGTEST_CHILD"

// TestChild is the body of the child that TestNothingStaysBehind kills.
func TestChild(t *testing.T) {
	if os.Getenv(childEnv) == "" {
		t.Skip("not the child of a test")
	}
	s := Start(t)
	os.Stdout.WriteString("dir " + s.dir + "\n")
	select {}
}

func TestNothingStaysBehind(t *testing.T) {
	find(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, _ := out.Read(buf)
	dir, ok := strings.CutPrefix(strings.TrimSpace(string(buf[:n])), "dir ")
	pid := 0
	if ok {
		pid = postmaster(t, dir)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if pid == 0 {
		t.Fatalf("the child says %q", buf[:n])
	}
	for range 500 {
		_, err := os.Stat(dir)
		if errors.Is(err, fs.ErrNotExist) && syscall.Kill(pid, 0) != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("10 s after its user was killed the server or its directory %s is still there", dir)
}

func postmaster(t *testing.T, dir string) int {
	t.Helper()
	s := &Server{dir: dir}
	db, err := sql.Open("pgx", s.url(Role, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var pid int
	if err := db.QueryRowContext(t.Context(), `SELECT split_part(pg_read_file('postmaster.pid'), E'\n', 1)::int`).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestKillAndRestart(t *testing.T) {
	s := New(t)
	address := s.NewDatabase(t)
	db, err := sql.Open("pgx", address)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `CREATE TABLE kept (n INT); INSERT INTO kept VALUES (7)`); err != nil {
		t.Fatal(err)
	}
	s.Kill(t)
	if err := db.PingContext(t.Context()); err == nil {
		t.Error("a killed server answers")
	}
	s.Restart(t)
	n := 0
	if err := db.QueryRowContext(t.Context(), `SELECT n FROM kept`).Scan(&n); err != nil || n != 7 {
		t.Errorf("after the restart: %d, %v", n, err)
	}
	if guarded, err := sql.Open("pgx", s.Guarded(t, address)); err != nil || guarded.Ping() == nil {
		t.Errorf("without a password: %v", err)
	}
}
