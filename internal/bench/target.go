package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// target is the server under load.
type target struct {
	*process
	est, http, metrics string    // addresses
	started            time.Time // before its process was
}

// start runs the server of a state directory on one core.
func (r *run) start(ctx context.Context, state string) (*target, error) {
	args := []string{"serve", "--dir", state, "--listen", "127.0.0.1:0"}
	if r.Profile != "" {
		args = append(args, "--cpuprofile", r.Profile)
	}
	cmd := exec.CommandContext(ctx, r.Binary, args...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	t := &target{started: time.Now()}
	if t.process, err = startOn(cmd, "the server", filepath.Join(r.dir, "server.log"), syscall.SIGTERM, r.serverCore); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		name, address, _ := strings.Cut(lines.Text(), " listening on ")
		switch name {
		case "metrics":
			t.metrics = address
		case "http":
			t.http = address
		case "est": // the last one
			t.est = address
			go io.Copy(io.Discard, stdout)
			return t, nil
		}
	}
	return nil, errors.Join(errors.New("the server did not come up"), t.stop())
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

// fetch gets what a server has at an address.
func fetch(ctx context.Context, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: status %d", address, answer.StatusCode)
	}
	return io.ReadAll(answer.Body)
}
