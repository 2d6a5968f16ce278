package awssim

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// environment is a Lambda execution environment: a runtime API of its own and at
// most one process, kept warm. It takes one event at a time; its methods must not
// be called concurrently.
type environment struct {
	f    *function
	api  *runtimeAPI
	proc *process
}

// process is a running bootstrap.
type process struct {
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has exited
}

func newEnvironment(f *function) (*environment, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening the runtime API of %s: %w", f.name, err)
	}
	return &environment{f: f, api: newRuntimeAPI(l, f.arn)}, nil
}

// close ends the process and the runtime API.
func (e *environment) close() {
	e.kill()
	e.api.close()
}

// once runs one attempt: a process, the event, its answer. What the function does
// wrong is a *functionFailure; errStopped means that the simulator ends.
func (e *environment) once(payload []byte) ([]byte, error) {
	if err := e.start(); err != nil {
		return nil, err
	}
	inv := &invocation{id: randomID(), payload: payload, deadline: time.Now().Add(lambdaTimeout), result: make(chan result, 1)}
	timeout := time.NewTimer(lambdaTimeout)
	defer timeout.Stop()
	select {
	case e.api.next <- inv:
	case r := <-e.api.initError:
		e.kill()
		return nil, r.err
	case <-e.proc.gone:
		return nil, e.exited()
	case <-timeout.C:
		e.kill()
		return nil, failure("Sandbox.Timedout", "the function did not ask for an event within %s", lambdaTimeout)
	case <-e.f.done:
		return nil, errStopped
	}
	select {
	case r := <-inv.result:
		return r.body, r.err
	case <-e.proc.gone:
		// The answer and the exit may come together.
		select {
		case r := <-inv.result:
			return r.body, r.err
		default:
		}
		return nil, e.exited()
	case <-timeout.C:
		e.kill()
		return nil, failure("Sandbox.Timedout", "task timed out after %s", lambdaTimeout)
	case <-e.f.done:
		return nil, errStopped
	}
}

func (e *environment) exited() error {
	state := e.proc.cmd.ProcessState
	e.proc = nil
	return failure("Runtime.ExitError", "runtime exited: %s", state)
}

// start starts the process unless it is warm. Its environment is that of the
// Lambda execution environment (AWS Lambda developer guide,
// configuration-envvars), plus the way back to the simulator.
func (e *environment) start() error {
	if e.proc != nil {
		select {
		case <-e.proc.gone:
			e.proc = nil
		default:
			return nil
		}
	}
	select {
	case <-e.api.initError: // of a process that is gone
	default:
	}
	path, err := filepath.Abs(e.f.conf.Path)
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
		"AWS_LAMBDA_RUNTIME_API=" + e.api.addr(),
		"AWS_LAMBDA_FUNCTION_NAME=" + e.f.name,
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128",
		"AWS_LAMBDA_LOG_GROUP_NAME=/aws/lambda/" + e.f.name,
		"AWS_LAMBDA_LOG_STREAM_NAME=simulated",
		"AWS_LAMBDA_INITIALIZATION_TYPE=on-demand",
		"AWS_EXECUTION_ENV=AWS_Lambda_provided.al2023",
		"AWS_REGION=" + e.f.w.region,
		"AWS_DEFAULT_REGION=" + e.f.w.region,
		"AWS_ACCESS_KEY_ID=" + e.f.w.account.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY=" + e.f.w.account.SecretAccessKey,
		"AWS_ENDPOINT_URL=" + e.f.w.sim.ControlURL(),
	}, e.f.conf.Env...)
	out := &logLines{f: e.f}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second // a grandchild may keep the pipe open
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the function: %w", err)
	}
	p := &process{cmd: cmd, gone: make(chan struct{})}
	e.proc = p
	go func() {
		cmd.Wait()
		close(p.gone)
	}()
	return nil
}

// kill ends the process, if there is one, and waits for it.
func (e *environment) kill() {
	if e.proc == nil {
		return
	}
	e.proc.cmd.Process.Kill()
	<-e.proc.gone
	e.proc = nil
}
