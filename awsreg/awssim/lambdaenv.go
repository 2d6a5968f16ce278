package awssim

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// environment is a Lambda execution environment: at most one process, kept warm. It
// takes one event at a time; its methods must not be called concurrently.
type environment struct {
	f    *function
	proc *process
}

// process is a running bootstrap with a runtime API of its own: what a process
// that is gone still asks for must not take an event from the next one.
type process struct {
	cmd    *exec.Cmd
	api    *runtimeAPI
	gone   chan struct{} // closed when it has exited
	logged chan struct{} // closed when what it wrote was read
}

// errUnread says that the process ended without having read the event.
var errUnread = errors.New("the process ended before it read the event")

// once runs one attempt: a process, the event, its answer. What the function does
// wrong is a *functionFailure; errStopped means that the simulator ends. A process
// that ended between two events is not the function's answer to the second one: that
// one gets a new process, as Lambda starts a new environment.
func (e *environment) once(payload []byte) ([]byte, error) {
	body, err := e.attempt(payload)
	if err == errUnread {
		body, err = e.attempt(payload)
	}
	if err == errUnread {
		err = failure("Runtime.ExitError", "the runtime exited before it read the event")
	}
	return body, err
}

// attempt hands the event to the warm process, or to a new one. errUnread means that
// this process had no part in it; it is gone.
func (e *environment) attempt(payload []byte) ([]byte, error) {
	cold, err := e.start()
	if err != nil {
		return nil, err
	}
	limit := e.f.conf.timeout()
	inv := newInvocation(payload, time.Now().Add(limit))
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case e.proc.api.next <- inv:
		defer inv.end()
	case r := <-e.proc.api.initError:
		e.kill()
		return nil, r.err
	case <-e.proc.gone:
		err := e.exited()
		if !cold {
			return nil, errUnread
		}
		return nil, err
	case <-timeout.C:
		e.kill()
		return nil, failure("Sandbox.Timedout", "the function did not ask for an event within %s", limit)
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
		err := e.exited()
		if !inv.read() {
			return nil, errUnread
		}
		return nil, err
	case <-timeout.C:
		e.kill()
		return nil, failure("Sandbox.Timedout", "task timed out after %s", limit)
	case <-e.f.done:
		e.kill() // so that the connection of the event cannot block
		return nil, errStopped
	}
}

// exited says how the process ended, once what it wrote is in the events.
func (e *environment) exited() error {
	p := e.proc
	e.kill()
	return failure("Runtime.ExitError", "runtime exited: %s", p.cmd.ProcessState)
}

// start starts the process unless it is warm, and reports whether it is new. Its
// environment is that of the Lambda execution environment (AWS Lambda developer
// guide, configuration-envvars), plus the way back to the simulator.
func (e *environment) start() (cold bool, err error) {
	if e.proc != nil {
		select {
		case <-e.proc.gone:
			e.kill()
		default:
			return false, nil
		}
	}
	path, err := filepath.Abs(e.f.conf.Path)
	if err != nil {
		return false, fmt.Errorf("starting the function: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return false, fmt.Errorf("opening the runtime API of %s: %w", e.f.name, err)
	}
	cmd := exec.Command(path)
	cmd.Dir = filepath.Dir(path)
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"),
		"LANG=en_US.UTF-8",
		"TZ=:UTC",
		"_HANDLER=bootstrap",
		"LAMBDA_TASK_ROOT=" + cmd.Dir,
		"AWS_LAMBDA_RUNTIME_API=" + l.Addr().String(),
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
	out, in, err := os.Pipe()
	if err != nil {
		l.Close()
		return false, fmt.Errorf("starting the function: %w", err)
	}
	// A file and not a writer: with a writer, Wait would also wait for whoever else has
	// inherited it, and the end of the process would show late.
	cmd.Stdout, cmd.Stderr = in, in
	err = cmd.Start()
	in.Close()
	if err != nil {
		out.Close()
		l.Close()
		return false, fmt.Errorf("starting the function: %w", err)
	}
	p := &process{cmd: cmd, api: newRuntimeAPI(l, e.f.arn), gone: make(chan struct{}), logged: make(chan struct{})}
	e.proc = p
	e.f.w.sim.wg.Go(func() {
		io.Copy(&logLines{f: e.f}, out)
		out.Close()
		close(p.logged)
	})
	e.f.w.sim.wg.Go(func() {
		cmd.Wait()
		close(p.gone)
		out.SetReadDeadline(time.Now().Add(time.Second)) // a grandchild may keep the pipe open
	})
	return true, nil
}

// kill ends the process, if there is one, and waits for it and what it wrote.
func (e *environment) kill() {
	if e.proc == nil {
		return
	}
	e.proc.cmd.Process.Kill()
	<-e.proc.gone
	e.proc.api.close()
	<-e.proc.logged
	e.proc = nil
}
