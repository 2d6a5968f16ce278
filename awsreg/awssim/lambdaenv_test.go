package awssim

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// oneShot is a bootstrap that answers one event and exits. It counts its starts.
const oneShot = `#!/bin/sh
cd "$(dirname "$0")"
echo started >>starts
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
out=$(curl -sS -D - "$api/next") || exit 1
id=$(printf '%s\n' "$out" | tr -d '\r' | sed -n 's/^[Ll]ambda-[Rr]untime-[Aa]ws-[Rr]equest-[Ii]d: //p')
[ -f silent ] && exit 1
curl -sS -o /dev/null -d "$$" "$api/$id/response"
`

// TestOneShotFunction: a function that ends after each event serves them all.
func TestOneShotFunction(t *testing.T) {
	tool(t, "curl")
	dir := t.TempDir()
	path := writeFile(t, dir, "bootstrap", oneShot)
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	s := startSim(t, func(c *Config) { c.Functions = map[string]Function{"fleet": {Path: path}} })
	w, err := s.world(first, region)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if _, err := w.call(fleetARN, []byte("{}"), time.Minute); err != nil {
			t.Errorf("event %d: %v", i, err)
		}
	}
	// One that reads its event and ends has failed; it is not run again behind the
	// caller's back.
	writeFile(t, dir, "silent", "")
	if err := os.Remove(dir + "/starts"); err != nil {
		t.Fatal(err)
	}
	var own *functionFailure
	if _, err := w.call(fleetARN, []byte("{}"), time.Minute); !errors.As(err, &own) || own.Type != "Runtime.ExitError" {
		t.Errorf("a function that ends without an answer: %v", err)
	}
	if b, err := os.ReadFile(dir + "/starts"); err != nil || strings.Count(string(b), "started") != 1 {
		t.Errorf("started %q %v", b, err)
	}
}

// TestKilledFunction: a function that was killed while it waited for the next event
// is started again for it, whenever its end is noticed.
func TestKilledFunction(t *testing.T) {
	s := startSim(t, withFleetFunction(t))
	w, err := s.world(first, region)
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for range 20 {
		var out struct{ PID int }
		body, err := w.call(fleetARN, []byte(`{"parameters":{"mode":"pid"}}`), time.Minute)
		if err != nil || json.Unmarshal(body, &out) != nil || out.PID == 0 || out.PID == last {
			t.Fatalf("after the kill of %d: %s %v", last, body, err)
		}
		last = out.PID
		if err := syscall.Kill(last, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	// An exit while it works on an event is the function's own, warm or not.
	var own *functionFailure
	for range 2 {
		if _, err := w.call(fleetARN, []byte(`{"parameters":{"mode":"exit"}}`), time.Minute); !errors.As(err, &own) || !strings.Contains(own.Message, "exit status 7") {
			t.Errorf("an exit: %v", err)
		}
	}
}

// TestFunctionTimeout: a function has its own time-out, and one caller's is another.
func TestFunctionTimeout(t *testing.T) {
	s := startSim(t, withFleetFunction(t), func(c *Config) {
		fn := c.Functions["fleet"]
		fn.Timeout = 200 * time.Millisecond
		c.Functions["fleet"] = fn
	})
	w, err := s.world(first, region)
	if err != nil {
		t.Fatal(err)
	}
	var own *functionFailure
	if _, err := w.call(fleetARN, []byte(`{"parameters":{"mode":"hang"}}`), time.Minute); !errors.As(err, &own) || own.Type != "Sandbox.Timedout" || !strings.Contains(own.Message, "200ms") {
		t.Errorf("a function over its time-out: %v", err)
	}
	for in, want := range map[time.Duration]string{0: `"Timeout":30`, 5 * time.Second: `"Timeout":5`, 1100 * time.Millisecond: `"Timeout":2`} {
		s := startSim(t, withFleetFunction(t), func(c *Config) { c.Functions["fleet"] = Function{Path: c.Functions["fleet"].Path, Timeout: in} })
		if _, body := lambdaDo(t, s, "GET", "/2015-03-31/functions/fleet/configuration", "", nil); !strings.Contains(body, want) {
			t.Errorf("%s: %s", in, body)
		}
	}
	for _, bad := range []time.Duration{-time.Second, maxFunctionTimeout + time.Second} {
		if s, err := Start(ctx, Config{Accounts: []Account{first}, Functions: map[string]Function{"f": {Path: os.Args[0], Timeout: bad}}}); err == nil {
			s.Close()
			t.Errorf("a time-out of %s was taken", bad)
		}
	}
}
