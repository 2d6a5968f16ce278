package awssim

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// What a synchronous call can fail with, beside a *functionFailure, which is the
// function's own doing.
var (
	errStopped     = errors.New("the simulator is closed")
	errNoFunction  = errors.New("no such function")
	errCallTimeout = errors.New("the function did not answer in time")
)

// call invokes a function and waits at most timeout for its answer, as a service
// does that calls a function synchronously. There is one attempt. The error is a
// *functionFailure if the function reported one, exited or ran into its own
// time-out; it wraps errCallTimeout if the caller's time is over, errNoFunction if
// the ARN names no function, and is errStopped when the simulator ends.
//
// The caller's time limit is not the function's: AWS gives up waiting, and the
// function runs on to its own time-out and keeps what it has done by then. Calls
// run concurrently, at most lambdaConcurrency of one function; waiting for a free
// environment counts as waiting for the answer. w.mu must not be held.
func (w *world) call(arn string, payload []byte, timeout time.Duration) ([]byte, error) {
	f, err := w.lookup(arn)
	if err != nil {
		return nil, err
	}
	limit := time.NewTimer(timeout)
	defer limit.Stop()
	late := func() error {
		err := fmt.Errorf("%w: no answer of %s within %s", errCallTimeout, f.name, timeout)
		f.report(payload, nil, err, "invocation", "synchronous")
		return err
	}
	select {
	case f.slots <- struct{}{}:
	case <-limit.C:
		return nil, late()
	case <-f.done:
		return nil, errStopped
	}
	env, err := f.acquire()
	if err != nil {
		<-f.slots
		return nil, err
	}
	answer := make(chan result, 1)
	go func() {
		defer f.wg.Done()
		body, err := env.once(payload)
		f.release(env)
		<-f.slots
		answer <- result{body: body, err: err}
	}()
	select {
	case r := <-answer:
		if r.err != errStopped {
			f.report(payload, r.body, r.err, "invocation", "synchronous")
		}
		return r.body, r.err
	case <-limit.C:
		return nil, late()
	}
}

// acquire takes a warm environment or makes one, and counts the call in f.wg. It
// fails only once the simulator ends.
func (f *function) acquire() (*environment, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return nil, errStopped
	}
	if n := len(f.idle); n > 0 {
		env := f.idle[n-1]
		f.idle = f.idle[:n-1]
		f.wg.Add(1)
		return env, nil
	}
	f.wg.Add(1)
	return &environment{f: f}, nil
}

func (f *function) release(env *environment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.idle = append(f.idle, env)
}

// functionFailure is a failed invocation: what the function reported (AWS Lambda
// developer guide, runtimes-api), or how it ended.
type functionFailure struct {
	Message string `json:"errorMessage"`
	Type    string `json:"errorType"`
}

func (e *functionFailure) Error() string {
	if e.Type == "" {
		return e.Message
	}
	return e.Type + ": " + e.Message
}

// payload is what Invoke answers beside X-Amz-Function-Error.
func (e *functionFailure) payload() []byte {
	b, _ := json.Marshal(e)
	return b
}

func failure(kind, format string, args ...any) *functionFailure {
	return &functionFailure{Type: kind, Message: fmt.Sprintf(format, args...)}
}

func parseFunctionError(body []byte) error {
	var e functionFailure
	if json.Unmarshal(body, &e) != nil || e.Message == "" && e.Type == "" {
		return failure("", "the function failed: %s", clip(string(body), 500))
	}
	return &e
}
