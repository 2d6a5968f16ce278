package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// bin holds the binaries that tests run, which are built once.
var bin string

func TestMain(m *testing.M) {
	var err error
	if bin, err = os.MkdirTemp("", "mintmark-lambda"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(bin)
	os.Exit(status)
}

var (
	buildLambda = sync.OnceValues(func() (string, error) { return buildCommand("mintmark-lambda", "-tags", "lambda.norpc") })
	buildServer = sync.OnceValues(func() (string, error) { return buildCommand("mintmark") })
)

func buildCommand(name string, args ...string) (string, error) {
	path := filepath.Join(bin, name)
	cmd := exec.Command("go", append(append([]string{"build", "-ldflags", "-s -w", "-o", path}, args...), "mintmark/cmd/"+name)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", name, err, out)
	}
	return path, nil
}

// function is one process of the bundle, and the Lambda runtime API that it asks
// for events: version 2018-06-01 of
// https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
type function struct {
	t      testing.TB
	cmd    *exec.Cmd
	out    *output
	events chan event
	ended  chan struct{} // closed when the process has ended, with err
	err    error
	mu     sync.Mutex
	open   map[string]chan reply
	n      int
}

type event struct {
	id       string
	payload  []byte
	deadline time.Time
}

type reply struct {
	answer string
	err    error
}

// output is what a process writes, to either stream.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

const functionARN = "arn:aws:lambda:eu-central-1:111122223333:function:f"

// start runs the bundle with a handler and an environment until the test ends.
func start(t testing.TB, handler string, env ...string) *function {
	t.Helper()
	path, err := buildLambda()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &function{t: t, out: &output{}, events: make(chan event), ended: make(chan struct{}), open: map[string]chan reply{}}
	server := &http.Server{Handler: f.api(), ReadHeaderTimeout: time.Minute}
	go server.Serve(l)
	f.cmd = exec.Command(path)
	f.cmd.Env = append([]string{
		"_HANDLER=" + handler, "AWS_LAMBDA_RUNTIME_API=" + l.Addr().String(), "AWS_REGION=" + region,
		"AWS_ACCESS_KEY_ID=" + account.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + account.SecretAccessKey,
	}, env...)
	f.cmd.Stdout, f.cmd.Stderr = f.out, f.out
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { f.err = f.cmd.Wait(); close(f.ended) }()
	t.Cleanup(func() {
		f.cmd.Process.Kill()
		<-f.ended // its output is complete
		server.Close()
		// Nothing that must stay secret is in any log.
		for _, secret := range []string{account.SecretAccessKey, "PRIVATE KEY"} {
			if strings.Contains(f.out.String(), secret) {
				t.Errorf("the log holds %q", secret)
			}
		}
	})
	return f
}

func (f *function) api() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, r *http.Request) {
		select {
		case e := <-f.events:
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", e.id)
			w.Header().Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(e.deadline.UnixMilli(), 10))
			w.Header().Set("Lambda-Runtime-Invoked-Function-Arn", functionARN)
			w.Write(e.payload)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/{kind}", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		answer := reply{answer: string(body)}
		if r.PathValue("kind") == "error" {
			var e struct{ ErrorMessage string }
			json.Unmarshal(body, &e)
			answer = reply{err: errors.New(e.ErrorMessage)}
		}
		f.mu.Lock()
		waiting := f.open[r.PathValue("id")]
		f.mu.Unlock()
		if waiting != nil {
			waiting <- answer
		}
		w.WriteHeader(http.StatusAccepted)
	})
	return mux
}

// invoke hands in an event and waits for the answer. limit is the function's
// time-out.
func (f *function) invoke(payload []byte, limit time.Duration) (string, error) {
	f.t.Helper()
	f.mu.Lock()
	f.n++
	e := event{id: strconv.Itoa(f.n), payload: payload, deadline: time.Now().Add(limit)}
	answer := make(chan reply, 1)
	f.open[e.id] = answer
	f.mu.Unlock()
	giveUp := time.NewTimer(2 * time.Minute) // for a process that hangs
	defer giveUp.Stop()
	select {
	case f.events <- e:
	case <-f.ended:
		f.t.Fatalf("the function ended: %v\n%s", f.err, f.out)
	case <-giveUp.C:
		f.t.Fatalf("the function took no event\n%s", f.out)
	}
	select {
	case r := <-answer:
		return r.answer, r.err
	case <-f.ended:
		f.t.Fatalf("the function ended: %v\n%s", f.err, f.out)
	case <-giveUp.C:
		f.t.Fatalf("no answer\n%s", f.out)
	}
	return "", nil
}

// long is a time-out that no busy machine runs into.
const long = time.Minute

// asks hands in an event as a value and wants an answer, word for word.
func (f *function) asks(payload any, want string) {
	f.t.Helper()
	answer, err := f.invoke(marshal(f.t, payload), long)
	if err != nil || answer != want {
		f.t.Fatalf("answer %s, %v; want %s\n%s", answer, err, want, f.out)
	}
}

// fails hands in bytes and wants an error with a text.
func (f *function) fails(payload []byte, want string) {
	f.t.Helper()
	answer, err := f.invoke(payload, long)
	if err == nil || !strings.Contains(err.Error(), want) {
		f.t.Fatalf("answer %s, %v; want an error with %q\n%s", answer, err, want, f.out)
	}
}

// logs waits until a text is in the log, which comes through a pipe.
func (f *function) logs(text string) {
	f.t.Helper()
	for end := time.Now().Add(time.Minute); !strings.Contains(f.out.String(), text); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("%s is not in the log:\n%s", text, f.out)
		}
	}
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
