package awssim

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// runtimeAPI is the Lambda runtime API of one process, version 2018-06-01 (AWS
// Lambda developer guide, runtimes-api).
type runtimeAPI struct {
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
	result   chan result   // holds one
	handed   chan struct{} // closed when it was written to the process, or could not be
	conn     net.Conn      // that it was written to; nil if it could not be
}

func newInvocation(payload []byte, deadline time.Time) *invocation {
	return &invocation{id: randomID(), payload: payload, deadline: deadline, result: make(chan result, 1), handed: make(chan struct{})}
}

// read reports whether a process that is gone now has read the event. If it ended
// before, the system has reset the connection, which shows when it is written to
// again. It is to be asked once, for an invocation that the API has taken.
func (inv *invocation) read() bool {
	<-inv.handed
	if inv.conn == nil {
		return false
	}
	_, err := inv.conn.Write([]byte("\n"))
	return err == nil
}

// end closes the connection of an invocation that the API has taken.
func (inv *invocation) end() {
	<-inv.handed
	if inv.conn != nil {
		inv.conn.Close()
	}
}

type result struct {
	body []byte
	err  error
}

// handTimeout bounds writing an event to a process on the same machine.
const handTimeout = 10 * time.Second

func newRuntimeAPI(l net.Listener, arn string) *runtimeAPI {
	a := &runtimeAPI{
		arn: arn, next: make(chan *invocation), initError: make(chan result, 1), closed: make(chan struct{}),
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
		h := http.Header{}
		h.Set("Content-Type", "application/json")
		h.Set("Lambda-Runtime-Aws-Request-Id", inv.id)
		h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(inv.deadline.UnixMilli(), 10))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", a.arn)
		h.Set("Lambda-Runtime-Trace-Id", "Root=1-00000000-000000000000000000000000;Sampled=0")
		inv.conn = hand(w, &http.Response{
			StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Header: h, Close: true,
			ContentLength: int64(len(inv.payload)), Body: io.NopCloser(bytes.NewReader(inv.payload)),
		})
		close(inv.handed)
	case <-r.Context().Done():
	case <-a.closed:
	}
}

// hand writes an answer and returns its connection, which stays open: how it ends
// tells whether the answer was read. Without a connection, it was not.
func hand(w http.ResponseWriter, answer *http.Response) net.Conn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	conn.SetDeadline(time.Now().Add(handTimeout))
	b := bufio.NewWriter(conn)
	if err = answer.Write(b); err == nil {
		err = b.Flush()
	}
	conn.SetDeadline(time.Time{})
	if err != nil {
		conn.Close()
		return nil
	}
	return conn
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
