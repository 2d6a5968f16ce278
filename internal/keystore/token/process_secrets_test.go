//go:build linux && cgo && !nopkcs11

package token

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"mintmark/internal/keystore/token/wire"
	"mintmark/internal/pkitest"
)

// What the child has of the server's secrets, and of its own.
func TestProcessKeepsNoSecret(t *testing.T) {
	module, label, _ := pkitest.SoftHSM(t)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "do-not-inherit")
	t.Setenv("AZURE_CLIENT_SECRET", "do-not-inherit")
	t.Setenv("PGPASSWORD", "do-not-inherit")
	t.Setenv("CREDENTIALS_DIRECTORY", "/do-not-inherit")
	p := opened(t, module, label, 3)
	if err := signsWith(p, generated(t, p, "k", "P-256")); err != nil {
		t.Fatal(err)
	}
	proc := func(name string) string {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, name))
		if errors.Is(err, os.ErrPermission) {
			t.Skip("only root may look into the process: ", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	environ := proc("environ")
	if strings.Contains(environ, "do-not-inherit") || strings.Contains(environ, pkitest.SoftHSMPIN) {
		t.Errorf("the environment of the child is %q", environ)
	}
	if !strings.Contains(environ, "SOFTHSM2_CONF=") {
		t.Error("the settings of the library are not in the environment of the child")
	}
	if args := proc("cmdline"); args != os.Args[0]+"\x00"+wire.ChildArg+"\x00" {
		t.Errorf("the arguments of the child are %q", args)
	}
	if limits := proc("limits"); !strings.Contains(strings.Join(strings.Fields(limits), " "), "Max core file size 0 0") {
		t.Errorf("the limits of the child are\n%s", limits)
	}
	// Neither the child nor this process has the PIN that was sent. What is looked for
	// is put together here so that it is not found for that. SoftHSM wipes its own.
	pin := strings.Join(strings.Split(pkitest.SoftHSMPIN, ""), "\x00")
	if n := inMemory(t, p.cmd.Process.Pid, pin); n > 0 {
		t.Errorf("the PIN is %d times in the memory of the child", n)
	}
	// That the search finds what is there.
	if n := inMemory(t, p.cmd.Process.Pid, strings.Join(strings.Split("SOFTHSM2_CONF", ""), "\x00")); n == 0 {
		t.Error("the search of the memory finds nothing")
	}
}

// The PIN is not left where the request was put together.
func TestProcessWipesRequests(t *testing.T) {
	p := testProcess(t)
	pin := []byte("71940852")
	var frame []byte
	err := p.call(t.Context(), func(b []byte, id uint32) (_ []byte, err error) {
		frame, err = (&wire.Login{PIN: pin}).Append(b, id)
		if !bytes.Contains(frame, pin) {
			t.Error("the PIN is not in the request")
		}
		return frame, err
	}, wire.ParseOK)
	if !hasTrouble(err, wire.NotOpen) {
		t.Error(err)
	}
	if len(bytes.Trim(frame, "\x00")) != 0 {
		t.Errorf("the request is left: %q", frame)
	}
}

// inMemory counts how often a string, given with zeros between its bytes, is in the
// memory that a process can write.
func inMemory(t *testing.T, pid int, spaced string) int {
	t.Helper()
	want := []byte(strings.ReplaceAll(spaced, "\x00", ""))
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Skip(err)
	}
	defer maps.Close()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Skip(err)
	}
	defer mem.Close()
	n := 0
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 2 || !strings.HasPrefix(f[1], "rw") {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		a, err1 := strconv.ParseUint(from, 16, 63)
		b, err2 := strconv.ParseUint(to, 16, 63)
		if err1 != nil || err2 != nil || b-a > 1<<30 {
			continue
		}
		block := make([]byte, b-a)
		got, err := mem.ReadAt(block, int64(a))
		if err != nil && got == 0 {
			continue // [vvar] and reserved memory
		}
		n += bytes.Count(block[:got], want)
	}
	return n
}

// A process that is not dumpable belongs to root in /proc, whoever's it is.
func TestProcessIsNotDumpable(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to start a child of another user")
	}
	p, err := startProcess(t.Context(), func() (*exec.Cmd, error) {
		cmd, err := thisBinary()
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		return cmd, err
	}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	info, err := os.Stat(fmt.Sprintf("/proc/%d/environ", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 0 {
		t.Errorf("the memory of the child is that of user %d to read", uid)
	}
}

func TestChildEnviron(t *testing.T) {
	got := childEnviron([]string{"PATH=/bin", "AWS_X=1", "AZURE_X=1", "PGHOST=x", "GOOGLE_X=1", "CREDENTIALS_DIRECTORY=/x",
		"NOTIFY_SOCKET=@x", "LISTEN_FDS=1", "VENDOR_CONF=/etc/v", "XAWS_=1", "=odd"})
	if want := []string{"PATH=/bin", "VENDOR_CONF=/etc/v", "XAWS_=1", "=odd"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := childEnviron([]string{"AWS_X=1"}); got == nil {
		t.Error("nil, which is the environment of this process")
	}
}
