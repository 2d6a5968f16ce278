package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mintmark/ca/rotation"
	"mintmark/internal/config"
	"mintmark/internal/keystore"
	"mintmark/internal/ledger"
	"mintmark/internal/server"
)

// childEnv makes this binary a server that moves a rotation, and kills itself: directory,
// nanoseconds by which its clock is ahead, rotation, state, and the entries of the journal
// that it has survived before, separated by newlines.
const childEnv = "MINTMARK_DRILL_CHILD"

func TestMain(m *testing.M) {
	keystore.SpareRounds()
	if arguments := os.Getenv(childEnv); arguments != "" {
		if err := child(strings.Split(arguments, "\n")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": accessKey, "AWS_SECRET_ACCESS_KEY": secretKey} {
		if err := os.Setenv(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// child moves the rotation, and is killed right after an entry that is new was written.
func child(arguments []string) error {
	dir, id, to, survived := arguments[0], arguments[2], rotation.State(arguments[3]), arguments[4:]
	ahead, err := strconv.ParseInt(arguments[1], 10, 64)
	if err != nil {
		return err
	}
	c, err := config.Load(dir)
	if err != nil {
		return err
	}
	at := new(clock)
	at.pass(time.Duration(ahead))
	serving := make(chan server.Inside, 1)
	s, err := server.Open(context.Background(), c, server.Options{
		Listen: "127.0.0.1:0", Out: io.Discard, Logger: slog.New(slog.DiscardHandler), Now: at.now, Inside: func(i server.Inside) { serving <- i },
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- errors.Join(s.Serve(ctx), s.Close()) }()
	var inside server.Inside
	select {
	case inside = <-serving:
	case err := <-ended:
		return err
	}
	result, err := inside.Machine.Run(ctx, id, to, "alice", func(e ledger.RotationEntry) {
		if !slices.Contains(survived, position(e)) && !slices.Contains(survived, "rest of "+string(to)) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	if err == nil && result.Rotation.State != string(to) {
		err = fmt.Errorf("in %s and not in %s: %q", result.Rotation.State, to, result.Blocked)
	}
	stop()
	return errors.Join(err, <-ended)
}

// position is which line of the journal an entry is, whatever came before.
func position(e ledger.RotationEntry) string { return e.State + " " + e.Step + " " + e.Event }

// TestDrillKill kills the server after every entry of the journal of a rotation, and goes on
// with the next one. Without MINTMARK_LONG=1, after one entry on the way into three states.
func TestDrillKill(t *testing.T) {
	beside(t)
	p := newPlant(t)
	p.open()
	p.applyClouds()
	p.remember()
	p.produce(fleetSize(24, 1000))
	table, o := newTable(), p.newOpenSSL()
	defer table.report(t)
	p.live(day)
	r := p.begin()
	var survived []string
	killed := 0
	for _, state := range rotation.States[1:13] { // to RETIRED
		if !long() && !slices.Contains([]rotation.State{rotation.CloudActiveBoth, rotation.Switched, rotation.TrustRemoved}, state) {
			p.enter(r.ID, state)
			continue
		}
		p.prepare(r.ID, state)
		p.stop()
		for {
			command := exec.Command(os.Args[0])
			command.Env = append(os.Environ(), childEnv+"="+strings.Join(append([]string{p.dir, strconv.FormatInt(p.clock.ahead.Load(), 10), r.ID, string(state)}, survived...), "\n"))
			out, err := command.CombinedOutput()
			if err == nil {
				break
			}
			if status, ok := command.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
				t.Fatalf("into %s: %v: %s", state, err, out)
			}
			killed++
			p.open()
			last := p.last(r.ID)
			survived = append(survived, position(last))
			if !long() {
				survived = append(survived, "rest of "+string(state)) // one death a state
			}
			p.watch(table, o, fmt.Sprintf("killed after %s", position(last)))
			p.stop()
		}
		p.open()
	}
	t.Logf("killed %d times", killed)
}

// last is the last entry of a rotation's journal.
func (p *plant) last(id string) ledger.RotationEntry {
	p.t.Helper()
	entries, err := p.inside.Ledger.RotationJournal(p.t.Context(), id, p.record(id).Version-1, 10)
	if err != nil || len(entries) != 1 {
		p.t.Fatalf("the journal ends with %d entries: %v", len(entries), err)
	}
	return entries[0]
}
