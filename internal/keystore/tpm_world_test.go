package keystore

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mintmark/internal/pkitest"
)

// softTPM is a TPM 2.0 in software, with a state that outlives its process.
type softTPM struct {
	t      *testing.T
	dir    string
	socket string
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process has
	said   *bytes.Buffer // by it; read when it has ended
}

func newSoftTPM(t *testing.T) *softTPM {
	t.Helper()
	pkitest.Tool(t, "swtpm")
	dir := t.TempDir()
	s := &softTPM{t: t, dir: dir, socket: filepath.Join(dir, "tpm")}
	t.Cleanup(s.stop)
	s.start()
	return s
}

// start starts it and waits until it listens.
func (s *softTPM) start() {
	s.t.Helper()
	s.run("type=unixio,path="+s.socket, "type=unixio,path="+s.socket+".ctrl")
	if !s.listens("unix", s.socket) {
		s.t.Fatal("swtpm does not run")
	}
}

func (s *softTPM) run(server, control string) {
	s.t.Helper()
	s.cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+s.dir, "--server", server, "--ctrl", control, "--flags", "not-need-init,startup-clear")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.ended, s.said = make(chan struct{}), new(bytes.Buffer)
	s.cmd.Stdout, s.cmd.Stderr = s.said, s.said
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func(cmd *exec.Cmd, ended chan struct{}) {
		cmd.Wait()
		close(ended)
	}(s.cmd, s.ended)
}

// listens waits until connections are taken, and reports false if the process has ended instead.
func (s *softTPM) listens(network, address string) (ok bool) {
	s.t.Helper()
	s.until("swtpm listens", func() bool {
		select {
		case <-s.ended:
			s.t.Logf("swtpm has ended: %s", s.said)
			return true
		default:
		}
		conn, err := net.Dial(network, address)
		ok = err == nil && conn.Close() == nil
		return ok
	})
	return ok
}

// stop ends the process, as a power failure would.
func (s *softTPM) stop() {
	if s.cmd == nil {
		return
	}
	s.cmd.Process.Kill()
	<-s.ended
	s.cmd = nil
	os.Remove(s.socket)
}

// until polls, at most for half a minute.
func (s *softTPM) until(what string, is func() bool) {
	s.t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("gave up waiting: %s", what)
		}
	}
}

// uri names a key in it.
func (s *softTPM) uri(name string) string { return "tpmkms:name=" + name + ";device=" + s.socket }

// runTCP starts it with two ports, one after the other, as the tools want them, and returns the first. It cannot
// choose free ones by itself, and somebody else may take those that were free a moment ago.
func (s *softTPM) runTCP() int {
	s.t.Helper()
	for range 10 {
		first, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			s.t.Fatal(err)
		}
		port := first.Addr().(*net.TCPAddr).Port
		second, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+1))
		first.Close()
		if err != nil {
			continue
		}
		second.Close()
		s.run(fmt.Sprintf("type=tcp,port=%d", port), fmt.Sprintf("type=tcp,port=%d", port+1))
		if s.listens("tcp", fmt.Sprintf("127.0.0.1:%d", port+1)) {
			return port
		}
		s.stop()
	}
	s.t.Fatal("swtpm finds no ports")
	return 0
}

// tools runs commands of tpm2-tools in its directory, over TCP: they cannot do Unix
// sockets. It has to be stopped. Each command is a line.
func (s *softTPM) tools(commands string) string {
	s.t.Helper()
	port := s.runTCP()
	defer s.stop()
	var all strings.Builder
	for line := range strings.Lines(commands) {
		args := strings.Fields(line)
		if len(args) == 0 {
			continue
		}
		cmd := exec.Command(pkitest.Tool(s.t, args[0]), args[1:]...)
		cmd.Dir = s.dir
		cmd.Env = append(os.Environ(), fmt.Sprintf("TPM2TOOLS_TCTI=swtpm:host=127.0.0.1,port=%d", port))
		out, err := cmd.CombinedOutput()
		if err != nil {
			s.t.Fatalf("%s: %v\n%s", line, err, out)
		}
		all.Write(out)
	}
	return all.String()
}

// blobs writes the two parts of a key file as tpm2_load wants them: each with its
// length in front (TPM 2.0 Library, Part 2, TPM2B_PUBLIC and TPM2B_PRIVATE).
func (s *softTPM) blobs(file string) {
	s.t.Helper()
	var stored struct{ Data []byte }
	if err := json.Unmarshal(pkitest.ReadFile(s.t, file), &stored); err != nil {
		s.t.Fatal(err)
	}
	var key struct{ Public, KeyBlob []byte }
	if err := json.Unmarshal(stored.Data, &key); err != nil {
		s.t.Fatal(err)
	}
	for name, data := range map[string][]byte{"key.pub": key.Public, "key.priv": key.KeyBlob} {
		sized := append(binary.BigEndian.AppendUint16(nil, uint16(len(data))), data...)
		if err := os.WriteFile(filepath.Join(s.dir, name), sized, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}
