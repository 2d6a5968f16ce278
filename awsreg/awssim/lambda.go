package awssim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Asynchronous invocation as AWS Lambda does it (AWS Lambda developer guide,
// invocation-async): a function that fails is tried twice more. AWS waits one
// minute before the second attempt and two before the third; the simulator does
// not wait, so that a rehearsal shows the outcome.
const (
	lambdaAttempts = 3
	lambdaTimeout  = 30 * time.Second
	lambdaQueue    = 1000
	lambdaMaxReply = 6 << 20
)

var functionARN = regexp.MustCompile(`^arn:aws:lambda:([a-z0-9-]+):([0-9]{12}):function:([A-Za-z0-9_-]{1,64})(:[A-Za-z0-9$_-]+)?$`)

// functionOf returns the function name in an ARN, or nothing.
func functionOf(arn string) string {
	if m := functionARN.FindStringSubmatch(arn); m != nil {
		return m[3]
	}
	return ""
}

// function is one Lambda function in one world: a queue, a worker that takes it in
// order, and at most one process of the function, kept warm.
type function struct {
	w     *world
	name  string
	arn   string
	conf  Function
	queue chan []byte
	done  chan struct{}
	ended chan struct{}
	api   *runtimeAPI

	proc *process // owned by the worker
}

// process is a running bootstrap.
type process struct {
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has exited
}

// invoke queues an event for a function.
func (w *world) invoke(rule, arn string, payload []byte) {
	fail := func(why string) { w.note("rule.failed", why, "rule", rule, "function", arn) }
	m := functionARN.FindStringSubmatch(arn)
	if m == nil || m[1] != w.region || m[2] != w.account.ID {
		fail("the function is not one of this account and Region")
		return
	}
	conf, ok := w.sim.cfg.Functions[m[3]]
	if !ok {
		fail("there is no function " + m[3])
		return
	}
	f, err := w.function(m[3], conf)
	if err != nil {
		fail(err.Error())
		return
	}
	select {
	case f.queue <- payload:
	default:
		fail("the queue of the function is full")
	}
}

// call invokes a function and waits for its answer, as a service does that calls
// a function synchronously. w.mu must not be held.
func (w *world) call(arn string, payload []byte, timeout time.Duration) ([]byte, error) {
	return nil, errStopped
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
		return nil, fmt.Errorf("the simulator is closed")
	default:
	}
	f := &function{
		w: w, name: name, arn: w.arn("lambda", "function:"+name), conf: conf,
		queue: make(chan []byte, lambdaQueue), done: make(chan struct{}), ended: make(chan struct{}),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening the runtime API of %s: %w", name, err)
	}
	f.api = newRuntimeAPI(l, f.arn)
	w.functions[name] = f
	go f.work()
	return f, nil
}

// stopFunctions ends all workers and their processes.
func (w *world) stopFunctions() {
	w.fnMu.Lock()
	defer w.fnMu.Unlock()
	for _, f := range w.functions {
		close(f.done)
		<-f.ended
	}
}

// work takes the queue in order until the world ends.
func (f *function) work() {
	defer close(f.ended)
	defer f.api.close()
	defer f.kill()
	for {
		select {
		case <-f.done:
			return
		case payload := <-f.queue:
			f.try(payload)
		}
	}
}

// try invokes the function until it succeeds, at most lambdaAttempts times.
func (f *function) try(payload []byte) {
	for attempt := 1; attempt <= lambdaAttempts; attempt++ {
		reply, err := f.once(payload)
		if err == errStopped {
			return
		}
		pairs := []string{"function", f.name, "attempt", fmt.Sprint(attempt), "event", string(payload)}
		if err == nil {
			f.w.note("lambda.succeeded", "", append(pairs, "result", string(reply))...)
			return
		}
		f.w.note("lambda.failed", err.Error(), pairs...)
	}
	f.w.note("lambda.dropped", "the function failed on every attempt", "function", f.name, "event", string(payload))
}

var errStopped = fmt.Errorf("the simulator is closed")

// once runs one attempt: a process, the event, its answer.
func (f *function) once(payload []byte) ([]byte, error) {
	if err := f.start(); err != nil {
		return nil, err
	}
	inv := &invocation{id: randomID(), payload: payload, deadline: time.Now().Add(lambdaTimeout), result: make(chan result, 1)}
	timeout := time.NewTimer(lambdaTimeout)
	defer timeout.Stop()
	select {
	case f.api.next <- inv:
	case r := <-f.api.initError:
		f.kill()
		return nil, r.err
	case <-f.proc.gone:
		return nil, f.exited()
	case <-timeout.C:
		f.kill()
		return nil, fmt.Errorf("the function did not ask for an event within %s", lambdaTimeout)
	case <-f.done:
		return nil, errStopped
	}
	select {
	case r := <-inv.result:
		return r.body, r.err
	case <-f.proc.gone:
		// The answer and the exit may come together.
		select {
		case r := <-inv.result:
			return r.body, r.err
		default:
		}
		return nil, f.exited()
	case <-timeout.C:
		f.kill()
		return nil, fmt.Errorf("task timed out after %s", lambdaTimeout)
	case <-f.done:
		return nil, errStopped
	}
}

func (f *function) exited() error {
	state := f.proc.cmd.ProcessState
	f.proc = nil
	return fmt.Errorf("runtime exited: %s", state)
}

// start starts the process unless it is warm. Its environment is that of the
// Lambda execution environment (AWS Lambda developer guide,
// configuration-envvars), plus the way back to the simulator.
func (f *function) start() error {
	if f.proc != nil {
		select {
		case <-f.proc.gone:
			f.proc = nil
		default:
			return nil
		}
	}
	select {
	case <-f.api.initError: // of a process that is gone
	default:
	}
	path, err := filepath.Abs(f.conf.Path)
	if err != nil {
		return fmt.Errorf("starting the function: %w", err)
	}
	cmd := exec.Command(path)
	cmd.Dir = filepath.Dir(path)
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"),
		"LANG=en_US.UTF-8",
		"TZ=:UTC",
		"_HANDLER=bootstrap",
		"LAMBDA_TASK_ROOT=" + cmd.Dir,
		"AWS_LAMBDA_RUNTIME_API=" + f.api.addr(),
		"AWS_LAMBDA_FUNCTION_NAME=" + f.name,
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/" + f.name,
		"AWS_LAMBDA_LOG_STREAM_NAME=simulated",
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_EXECUTION_ENV=AWS_Lambda_provided.al2023",
		"AWS_REGION=" + f.w.region,
		"AWS_DEFAULT_REGION=" + f.w.region,
		"AWS_ACCESS_KEY_ID=" + f.w.account.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY=" + f.w.account.SecretAccessKey,
		"AWS_ENDPOINT_URL=" + f.w.sim.ControlURL(),
	}, f.conf.Env...)
	out := &logLines{f: f}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second // a grandchild may keep the pipe open
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the function: %w", err)
	}
	p := &process{cmd: cmd, gone: make(chan struct{})}
	f.proc = p
	go func() {
		cmd.Wait()
		close(p.gone)
	}()
	return nil
}

// kill ends the process, if there is one, and waits for it.
func (f *function) kill() {
	if f.proc == nil {
		return
	}
	f.proc.cmd.Process.Kill()
	<-f.proc.gone
	f.proc = nil
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

// functionError is the body of an error report (AWS Lambda developer guide,
// runtimes-api).
type functionError struct {
	Message string `json:"errorMessage"`
	Type    string `json:"errorType"`
}

func parseFunctionError(body []byte) error {
	var e functionError
	if json.Unmarshal(body, &e) != nil || e.Message == "" && e.Type == "" {
		return fmt.Errorf("the function failed: %s", clip(string(body), 500))
	}
	return fmt.Errorf("%s: %s", e.Type, e.Message)
}
