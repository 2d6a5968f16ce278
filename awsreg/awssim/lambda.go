package awssim

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"

	"mintmark/internal/pattern"
)

// Asynchronous invocation as AWS Lambda does it (AWS Lambda developer guide,
// invocation-async): a function that fails is tried twice more. AWS waits one
// minute before the second attempt and two before the third; the simulator does
// not wait, so that a rehearsal shows the outcome.
const (
	lambdaAttempts = 3
	lambdaQueue    = 1000
	lambdaMaxReply = 6 << 20

	// lambdaConcurrency bounds the environments of one function that serve
	// synchronous calls at the same time. It is the simulator's own bound.
	lambdaConcurrency = 4
)

var functionARN = pattern.New(`^arn:aws:lambda:([a-z0-9-]+):([0-9]{12}):function:([A-Za-z0-9_-]{1,64})(:[A-Za-z0-9$_-]+)?$`)

// functionOf returns the function name in an ARN, or nothing.
func functionOf(arn string) string {
	if m := functionARN.FindStringSubmatch(arn); m != nil {
		return m[3]
	}
	return ""
}

// function is one Lambda function in one world. Events are taken from a queue in
// order, in one execution environment; synchronous calls run beside it, in up to
// lambdaConcurrency others. Every environment is kept warm.
type function struct {
	w     *world
	name  string
	arn   string
	conf  Function
	queue chan []byte
	done  chan struct{}
	wg    sync.WaitGroup // the worker and the synchronous calls

	slots chan struct{} // one for each synchronous call under way
	mu    sync.Mutex
	idle  []*environment // warm ones that no call uses, most recently used last
	ended bool
}

// lookup finds the function that an ARN names.
func (w *world) lookup(arn string) (*function, error) {
	m := functionARN.FindStringSubmatch(arn)
	if m == nil || m[1] != w.region || m[2] != w.account.ID {
		return nil, fmt.Errorf("%w: the function is not one of this account and Region", errNoFunction)
	}
	conf, ok := w.sim.cfg.Functions[m[3]]
	if !ok {
		return nil, fmt.Errorf("%w: there is no function %s", errNoFunction, m[3])
	}
	return w.function(m[3], conf)
}

// invoke queues an event for a function.
func (w *world) invoke(rule, arn string, payload []byte) {
	f, err := w.lookup(arn)
	if err == nil {
		err = f.enqueue(payload)
	}
	if err != nil {
		w.note("rule.failed", err.Error(), "rule", rule, "function", arn)
	}
}

func (f *function) enqueue(payload []byte) error {
	select {
	case f.queue <- payload:
		return nil
	default:
		return errors.New("the queue of the function is full")
	}
}

// function returns the worker of a function and starts it on first use.
func (w *world) function(name string, conf Function) (*function, error) {
	w.fnMu.Lock()
	defer w.fnMu.Unlock()
	if f, ok := w.functions[name]; ok {
		return f, nil
	}
	select {
	case <-w.sim.done:
		return nil, errStopped
	default:
	}
	f := &function{
		w: w, name: name, arn: w.arn("lambda", "function:"+name), conf: conf,
		queue: make(chan []byte, lambdaQueue), done: make(chan struct{}), slots: make(chan struct{}, lambdaConcurrency),
	}
	w.functions[name] = f
	f.wg.Go(f.work)
	return f, nil
}

// stopFunctions ends all workers, calls and processes.
func (w *world) stopFunctions() {
	w.fnMu.Lock()
	defer w.fnMu.Unlock()
	for _, f := range w.functions {
		f.mu.Lock()
		f.ended = true
		f.mu.Unlock()
		close(f.done)
		f.wg.Wait()
		for _, e := range f.idle {
			e.kill()
		}
		f.idle = nil
	}
}

// work takes the queue in order until the world ends.
func (f *function) work() {
	env := &environment{f: f}
	defer env.kill()
	for {
		select {
		case <-f.done:
			return
		case payload := <-f.queue:
			f.try(env, payload)
		}
	}
}

// try invokes the function until it succeeds, at most lambdaAttempts times.
func (f *function) try(env *environment, payload []byte) {
	for attempt := 1; attempt <= lambdaAttempts; attempt++ {
		reply, err := env.once(payload)
		if err == errStopped {
			return
		}
		f.report(payload, reply, err, "attempt", fmt.Sprint(attempt))
		if err == nil {
			return
		}
	}
	f.w.note("lambda.dropped", "the function failed on every attempt", "function", f.name, "event", string(payload))
}

// report makes an event of the outcome of one invocation.
func (f *function) report(payload, reply []byte, err error, pairs ...string) {
	pairs = append([]string{"function", f.name, "event", string(payload)}, pairs...)
	if err != nil {
		f.w.note("lambda.failed", err.Error(), pairs...)
		return
	}
	f.w.note("lambda.succeeded", "", append(pairs, "result", string(reply))...)
}

// logLines makes an event of each line that a function writes.
type logLines struct {
	f   *function
	mu  sync.Mutex
	buf []byte
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, p...)
	for {
		i := bytes.IndexByte(l.buf, '\n')
		if i < 0 {
			if len(l.buf) > 64<<10 {
				l.buf = nil // a line that never ends
			}
			return len(p), nil
		}
		if line := strings.TrimSpace(string(l.buf[:i])); line != "" {
			l.f.w.note("lambda.log", clip(line, 2000), "function", l.f.name)
		}
		l.buf = l.buf[i+1:]
	}
}
