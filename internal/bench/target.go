package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// target is the server under load.
type target struct {
	est, http, metrics string // addresses
	pid                int
	started            time.Time // before its process was
	stop               func() error
}

// start runs the server of a state directory on one core. Its stop ends it and may be called
// twice.
func (r *run) start(ctx context.Context, state string) (t *target, err error) {
	args := []string{"serve", "--dir", state, "--listen", "127.0.0.1:0"}
	if r.Profile != "" {
		args = append(args, "--cpuprofile", r.Profile)
	}
	cmd := exec.CommandContext(ctx, r.Binary, args...)
	// The log goes to a file, as under a service manager.
	log, err := os.Create(filepath.Join(r.dir, "server.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stderr = log
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	t = &target{started: time.Now()}
	if err := startOn(cmd, r.serverCore); err != nil {
		return nil, fmt.Errorf("starting %s: %w", r.Binary, err)
	}
	stopped := false
	t.pid = cmd.Process.Pid
	t.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("stopping the server: %w", err)
		}
		return nil
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if a, ok := strings.CutPrefix(lines.Text(), "metrics listening on "); ok {
			t.metrics = a
		}
		if a, ok := strings.CutPrefix(lines.Text(), "http listening on "); ok {
			t.http = a
		}
		if a, ok := strings.CutPrefix(lines.Text(), "est listening on "); ok {
			t.est = a
			go io.Copy(io.Discard, stdout)
			return t, nil
		}
	}
	said, _ := os.ReadFile(log.Name())
	return nil, errors.Join(fmt.Errorf("the server did not come up: %s", said[max(0, len(said)-1000):]), t.stop())
}

// up starts the server of a state directory and a fleet that has certificates of it.
func (r *run) up(ctx context.Context, state string) (*target, *fleet, error) {
	t, err := r.start(ctx, state)
	if err != nil {
		return nil, nil, err
	}
	f, err := newFleet(state, t.est)
	if err == nil {
		err = f.enroll(ctx, clients)
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("enrolling the clients: %w", err), t.stop())
	}
	return t, f, nil
}

// Where configuration that init writes is changed.
const (
	endOfLabel = "    own: [device]"
	noLimits   = "\n    limits: {identity: 0, address: 0}\n"
)

// unlimited makes the loopback a station and the labels ones without limits: the load comes
// from one address and few devices, as no line's does. There is a label for work orders
// beside the one that init makes, and OCSP is answered.
func unlimited(state string) error {
	path := filepath.Join(state, "mintmark.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, tail, found := strings.Cut(string(text), endOfLabel)
	if !found {
		return errors.New("the configuration that init writes has no label to change")
	}
	line := `  - name: line
    profile: device
    issuer: issuing
    authorize: order
` + endOfLabel + noLimits
	changed := head + endOfLabel + tail + noLimits + line + "\nlimits:\n  stations: [127.0.0.0/8]\n\nocsp: {enabled: true}\n"
	return os.WriteFile(path, []byte(changed), 0o600)
}
