package admin

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"sync"
)

// InProcess returns a RoundTripper that calls the handler directly: what is
// streamed arrives as it is written, and nothing listens anywhere.
func InProcess(h http.Handler) *Local { return &Local{handler: h} }

// Local calls a handler in this process.
type Local struct {
	handler http.Handler
	running sync.WaitGroup
}

// Wait returns when no handler runs any more. A caller that was interrupted
// leaves one behind, and what it works on must not be closed under it.
func (t *Local) Wait() { t.running.Wait() }

// RoundTrip implements http.RoundTripper.
func (t *Local) RoundTrip(r *http.Request) (*http.Response, error) {
	server := r.Clone(r.Context())
	server.RequestURI = r.URL.RequestURI()
	server.Host = r.URL.Host
	if server.Body == nil {
		server.Body = http.NoBody
	}
	reader, writer := io.Pipe()
	w := &pipeWriter{header: make(http.Header), body: writer, ready: make(chan struct{})}
	t.running.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				writer.CloseWithError(fmt.Errorf("the handler panicked: %v", p))
			}
			w.WriteHeader(http.StatusOK)
			writer.Close()
			server.Body.Close()
		}()
		t.handler.ServeHTTP(w, server)
	})
	select {
	case <-w.ready:
	case <-r.Context().Done():
		reader.CloseWithError(r.Context().Err()) // the handler's writes fail
		return nil, r.Context().Err()
	}
	return &http.Response{
		Status:     fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)),
		StatusCode: w.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        w.sent,
		Body:          reader,
		ContentLength: -1,
		Request:       r,
	}, nil
}

// pipeWriter is the ResponseWriter of one request.
type pipeWriter struct {
	header http.Header
	body   *io.PipeWriter
	once   sync.Once
	ready  chan struct{} // closed once status and sent are set
	status int
	sent   http.Header
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status, w.sent = status, maps.Clone(w.header)
		close(w.ready)
	})
}

func (w *pipeWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// Flush does nothing: every write has been read when it returns.
func (w *pipeWriter) Flush() {}
