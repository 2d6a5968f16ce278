package awssim

import (
	"errors"
	"time"
)

// outcome is how a call ended.
type outcome struct {
	answer any
	failed *apiError
	cut    bool // the caller gets no answer; its connection is to be closed
}

// undergo is the way of every call, over HTTP and over MQTT: it records the call,
// applies the quota, meets the faults and runs it. run takes the locks that it
// needs; w.mu must not be held.
func (w *world) undergo(op string, run func() (any, error)) outcome {
	start := time.Now()
	w.sim.faults.record(op)
	if w.throttled(op) {
		w.logCall(op, "ThrottlingException", start)
		return outcome{failed: throttling()}
	}
	fault := w.sim.faults.meet(op)
	if fault != nil && fault.Latency > 0 {
		w.pause(fault.Latency)
	}
	var out outcome
	if fault == nil || fault.AfterEffect || fault.slowOnly() {
		var err error
		if out.answer, err = run(); err != nil && !errors.As(err, &out.failed) {
			out.failed = iotError("InternalFailureException", "%v", err)
		}
	}
	result := "ok"
	if out.failed != nil {
		result = out.failed.code
	}
	switch {
	case fault == nil:
	case fault.NoEffect:
		result = "injected no effect"
		w.note("fault.injected", "answered as if it were done", "operation", op)
		out = outcome{answer: struct{}{}}
	case fault.slowOnly():
		w.note("fault.injected", "held back for "+fault.Latency.String(), "operation", op)
	case fault.Cut:
		result = "injected cut"
		w.note("fault.injected", "the connection was cut instead of an answer", "operation", op)
		out = outcome{cut: true}
	default:
		result = "injected " + fault.Code
		w.note("fault.injected", "answered with "+fault.Code, "operation", op)
		out = outcome{failed: &apiError{code: fault.Code, status: fault.Status, message: "injected fault"}}
	}
	w.logCall(op, result, start)
	return out
}

func (w *world) logCall(op, result string, start time.Time) {
	w.sim.cfg.Logger.Info("call", "operation", op, "account", w.account.ID, "region", w.region, "result", result, "duration", time.Since(start))
}

// pause waits, at most until the simulator is closed.
func (w *world) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.sim.done:
	}
}
