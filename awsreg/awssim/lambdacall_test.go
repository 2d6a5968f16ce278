package awssim

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestCall: the outcomes of a synchronous call can be told apart.
func TestCall(t *testing.T) {
	s := startSim(t, withFleetFunction(t))
	w, err := s.world(first, region)
	if err != nil {
		t.Fatal(err)
	}
	event := func(mode, raw string) []byte {
		b, err := json.Marshal(hookEvent{Parameters: map[string]string{"mode": mode, "raw": raw}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	body, err := w.call(fleetARN, event("raw", `{"n":1}`), time.Minute)
	if err != nil || string(body) != `{"n":1}` {
		t.Errorf("answer %q, %v", body, err)
	}
	var own *functionFailure
	if _, err := w.call(fleetARN, event("error", ""), time.Minute); !errors.As(err, &own) || !strings.Contains(own.Message, "out of order") {
		t.Errorf("a function's error: %v", err)
	}
	var shape functionFailure
	if err := json.Unmarshal(own.payload(), &shape); err != nil || shape != *own {
		t.Errorf("payload %s", own.payload())
	}
	own = nil
	if _, err := w.call(fleetARN, event("exit", ""), time.Minute); !errors.As(err, &own) || own.Type != "Runtime.ExitError" {
		t.Errorf("a function that exits: %v", err)
	}
	for _, arn := range []string{"", "arn:aws:lambda:eu-central-1:111122223333:function:nowhere", strings.Replace(fleetARN, "1111", "9999", 1)} {
		if _, err := w.call(arn, nil, time.Minute); !errors.Is(err, errNoFunction) {
			t.Errorf("%q: %v", arn, err)
		}
	}
	// Over time: the caller goes, the environment stays busy, and others still serve.
	if _, err := w.call(fleetARN, event("hang", ""), 50*time.Millisecond); !errors.Is(err, errCallTimeout) {
		t.Errorf("a function that hangs: %v", err)
	}
	if _, err := w.call(fleetARN, event("raw", "1"), time.Minute); err != nil {
		t.Errorf("beside a function that hangs: %v", err)
	}
	// All environments busy: waiting for one counts as waiting for the answer.
	for range lambdaConcurrency - 1 {
		if _, err := w.call(fleetARN, event("hang", ""), 50*time.Millisecond); !errors.Is(err, errCallTimeout) {
			t.Errorf("a function that hangs: %v", err)
		}
	}
	if _, err := w.call(fleetARN, event("raw", "1"), 50*time.Millisecond); !errors.Is(err, errCallTimeout) {
		t.Errorf("with every environment busy: %v", err)
	}
	if len(eventsOf(t, s, "lambda.succeeded")) != 2 || len(eventsOf(t, s, "lambda.failed")) != 2+1+lambdaConcurrency {
		t.Errorf("events: %d succeeded, %d failed", len(eventsOf(t, s, "lambda.succeeded")), len(eventsOf(t, s, "lambda.failed")))
	}
	// Close ends the calls that still wait.
	result := make(chan error, 1)
	go func() {
		_, err := w.call(fleetARN, event("raw", "1"), time.Minute)
		result <- err
	}()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := receive(t, result); !errors.Is(err, errStopped) {
		t.Errorf("a call under way when the simulator ends: %v", err)
	}
	if _, err := w.call(fleetARN, nil, time.Minute); !errors.Is(err, errStopped) {
		t.Errorf("a call after the end: %v", err)
	}
}

// TestCallsAreWarmAndConcurrent: calls that overlap get environments of their own, and
// a later one gets one of these again.
func TestCallsAreWarmAndConcurrent(t *testing.T) {
	s := startSim(t, withFleetFunction(t))
	w, err := s.world(first, region)
	if err != nil {
		t.Fatal(err)
	}
	pid := func() string {
		body, err := w.call(fleetARN, []byte(`{"parameters":{"mode":"pid"}}`), time.Minute)
		if err != nil {
			t.Error(err)
		}
		return string(body)
	}
	if a, b := pid(), pid(); a != b {
		t.Errorf("two calls in a row ran in %s and %s", a, b)
	}
	var mu sync.Mutex
	pids := map[string]int{}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			p := pid()
			mu.Lock()
			defer mu.Unlock()
			pids[p]++
		})
	}
	wg.Wait()
	if len(pids) > lambdaConcurrency {
		t.Errorf("%d processes, the bound is %d", len(pids), lambdaConcurrency)
	}
}
