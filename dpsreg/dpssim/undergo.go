package dpssim

import (
	"net/http"
	"strconv"
	"time"
)

// refusal makes the answer of an error in the format of one service: dpsError,
// armError, hubError, entraError. code is the service's own number, as 401002; 0 for none.
type refusal func(status, code int, message string) answer

// undergo is the way of every call, over HTTP and over MQTT: it records the call, meets
// the faults and runs it. What has not authenticated does not come here. refuse
// writes the errors of faults; run does what was asked and takes the locks that it needs.
// The result cut says that the caller gets no answer: its connection is to be closed.
func (s *Sim) undergo(op string, refuse refusal, run func() answer) (a answer, cut bool) {
	start := time.Now()
	s.faults.record(op)
	fault := s.faults.meet(op)
	if fault == nil || fault.AfterEffect {
		a = run()
	}
	result := strconv.Itoa(a.status)
	switch {
	case fault == nil:
	case fault.Status == 0:
		cut = true
		result = "injected cut"
		s.note("fault.injected", "the connection was cut instead of an answer", "operation", op)
	default:
		message := fault.Message
		if message == "" {
			message = "injected fault"
		}
		a = refuse(fault.Status, fault.Code, message)
		if fault.RetryAfter > 0 {
			a = a.with("Retry-After", strconv.Itoa(fault.RetryAfter))
		}
		result = "injected " + strconv.Itoa(fault.Status)
		s.note("fault.injected", "answered with HTTP "+strconv.Itoa(fault.Status), "operation", op)
	}
	s.cfg.Logger.Info("call", "operation", op, "result", result, "duration", time.Since(start))
	return a, cut
}

// perform is undergo for a request of HTTP.
func (s *Sim) perform(w http.ResponseWriter, op string, refuse refusal, run func() answer) {
	a, cut := s.undergo(op, refuse, run)
	if cut {
		panic(http.ErrAbortHandler) // net/http cuts the connection without an answer
	}
	a.write(w)
}
