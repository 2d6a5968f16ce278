package awssim

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// runtimeAPI is the Lambda runtime API of one function, version 2018-06-01 (AWS
// Lambda developer guide, runtimes-api).
type runtimeAPI struct {
	listener  net.Listener
	server    *http.Server
	arn       string
	next      chan *invocation // from the worker to GET next
	initError chan result
	closed    chan struct{}

	mu      sync.Mutex
	current *invocation
}

type invocation struct {
	id       string
	payload  []byte
	deadline time.Time
	result   chan result // holds one
}

type result struct {
	body []byte
	err  error
}

func newRuntimeAPI(l net.Listener, arn string) *runtimeAPI {
	a := &runtimeAPI{
		listener: l, arn: arn, next: make(chan *invocation), initError: make(chan result, 1), closed: make(chan struct{}),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", a.serveNext)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) {
		a.serveResult(w, r, func(body []byte) result { return result{body: body} })
	})
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", func(w http.ResponseWriter, r *http.Request) {
		a.serveResult(w, r, func(body []byte) result { return result{err: parseFunctionError(body)} })
	})
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", a.serveInitError)
	// No write timeout: GET next waits for as long as there is nothing to do.
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go a.server.Serve(l)
	return a
}

func (a *runtimeAPI) addr() string { return a.listener.Addr().String() }

func (a *runtimeAPI) close() {
	close(a.closed)
	a.server.Close()
}

func (a *runtimeAPI) serveNext(w http.ResponseWriter, r *http.Request) {
	select {
	case inv := <-a.next:
		a.mu.Lock()
		a.current = inv
		a.mu.Unlock()
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", a.arn)
		h.Set("Lambda-Runtime-Trace-Id", "Root=1-00000000-000000000000000000000000;Sampled=0")
		w.Write(inv.payload)
	case <-r.Context().Done():
	case <-a.closed:
	}
}

// serveResult takes the answer to the invocation under way.
func (a *runtimeAPI) serveResult(w http.ResponseWriter, r *http.Request, outcome func([]byte) result) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, lambdaMaxReply))
	if err != nil {
		http.Error(w, "the answer is larger than 6 MB", http.StatusRequestEntityTooLarge)
		return
	}
	a.mu.Lock()
	inv := a.current
	if inv != nil && inv.id == r.PathValue("id") {
		a.current = nil
	} else {
		inv = nil
	}
	a.mu.Unlock()
	if inv == nil {
		writeJSON(w, http.StatusBadRequest, "application/json", map[string]string{"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"})
		return
	}
	inv.result <- outcome(body)
	writeJSON(w, http.StatusAccepted, "application/json", map[string]string{"status": "OK"})
}

func (a *runtimeAPI) serveInitError(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	select {
	case a.initError <- result{err: parseFunctionError(body)}:
	default:
	}
	writeJSON(w, http.StatusAccepted, "application/json", map[string]string{"status": "OK"})
}
