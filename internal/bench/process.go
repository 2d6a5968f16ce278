package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// stopTime is how long a process may take to end once it was told to. The server gives the
// requests in flight 30 s.
const stopTime = 40 * time.Second

// A process is a server on cores of its own.
type process struct {
	*exec.Cmd
	name, log string         // for what is said about it
	end       syscall.Signal // tells it to end
	ended     chan struct{}  // closed once it has
	err       error          // how it has
}

// startOn starts a command bound to cores: it inherits the binding of the thread that starts it.
// What it says goes to a file, as under a service manager. The signal tells it to end: when
// stop is called, when the command's context ends, and when this process is gone, however that
// came, as nobody else would end it then.
func startOn(cmd *exec.Cmd, name, log string, end syscall.Signal, cores ...int) (*process, error) {
	file, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	cmd.Stderr = file
	if cmd.Stdout == nil {
		cmd.Stdout = file
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = end
	cmd.Cancel = func() error { return cmd.Process.Signal(end) }
	cmd.WaitDelay = stopTime
	p := &process{Cmd: cmd, name: name, log: log, end: end, ended: make(chan struct{})}
	started := make(chan struct{})
	go func() {
		defer close(p.ended)
		// The thread stays until the process has ended: to the kernel it is the parent.
		p.err = onCores(cores, func() error {
			if err := cmd.Start(); err != nil {
				return err
			}
			close(started)
			return cmd.Wait()
		})
	}()
	select {
	case <-started:
	case <-p.ended:
	}
	if cmd.Process == nil {
		return nil, fmt.Errorf("starting %s: %w", name, p.err)
	}
	return p, nil
}

// stop ends the process, waits until it is gone and says what went wrong with it. It may be
// called twice.
func (p *process) stop() error {
	p.Process.Signal(p.end) // fails where it has ended, and then err says how
	select {
	case <-p.ended:
	case <-time.After(stopTime):
		p.Process.Kill()
		<-p.ended
		return fmt.Errorf("%s did not end within %v and was killed", p.name, stopTime)
	}
	if p.err == nil {
		return nil
	}
	return fmt.Errorf("%s ended: %w: %s", p.name, p.err, lastWords(p.log))
}

// lastWords are the end of a log.
func lastWords(path string) []byte {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return bytes.TrimSpace(text[max(0, len(text)-1000):])
}
