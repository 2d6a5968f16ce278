package bench

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// holder is set in a process that holds another and is then killed.
const holder = "MINTMARK_TEST_HOLDER"

// What was started ends with this process, also if that is killed.
func TestProcessEndsWithParent(t *testing.T) {
	if log := os.Getenv(holder); log != "" {
		sleep := exec.CommandContext(t.Context(), "sleep", "600")
		sleep.Stdout = os.Stdout // whose end the test waits for
		if _, err := startOn(sleep, "sleep", log, syscall.SIGTERM, cores(t)...); err != nil {
			t.Fatal(err)
		}
		io.WriteString(os.Stdout, "started\n")
		select {} // until it is killed
	}
	self := exec.Command(os.Args[0], "-test.run=^TestProcessEndsWithParent$")
	self.Env = append(os.Environ(), holder+"="+filepath.Join(t.TempDir(), "log"))
	out, err := self.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(out)
	if line, err := in.ReadString('\n'); err != nil || line != "started\n" {
		t.Errorf("%q, %v", line, err)
	}
	if err := self.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Both have it as their standard output: it is at its end when both are gone.
	if rest, err := io.ReadAll(in); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	self.Wait()
}

func cores(t *testing.T) []int {
	t.Helper()
	list, err := allowedCores()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestProcess(t *testing.T) {
	start := func(cmd *exec.Cmd) *process {
		t.Helper()
		p, err := startOn(cmd, "the shell", filepath.Join(t.TempDir(), "log"), syscall.SIGTERM, cores(t)...)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	orderly := start(cmd)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil { // it has its trap
		t.Fatal(line, err)
	}
	for range 2 {
		if err := orderly.stop(); err != nil {
			t.Error(err)
		}
	}
	broken := start(exec.CommandContext(t.Context(), "sh", "-c", "echo broken; exit 4"))
	<-broken.ended
	if err := broken.stop(); err == nil || !strings.Contains(err.Error(), "the shell ended: exit status 4: broken") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	interrupted := start(exec.CommandContext(ctx, "sleep", "600"))
	cancel()
	<-interrupted.ended
	if interrupted.err == nil {
		t.Error("no error, although it was interrupted")
	}
	if _, err := startOn(exec.Command("/nonexistent"), "nothing", filepath.Join(t.TempDir(), "log"), syscall.SIGTERM, cores(t)...); err == nil || !strings.Contains(err.Error(), "starting nothing") {
		t.Errorf("%v", err)
	}
}
