package server

import (
	"io"
	"net/http"
	"sync"
)

// answer marks the connection of a request as answering from when the request has
// arrived, body included, until it is answered. A request that changes nothing
// (RFC 9110, Section 9.2.1) does not protect its connection: any number of
// strangers could have such requests answered, and read the answers as slowly as
// they like.
func (g *gate) answer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(gateKey{}).(*gateConn)
		if !ok || safe(r.Method) {
			next.ServeHTTP(w, r)
			return
		}
		request := &arrival{conn: c, body: r.Body, left: r.ContentLength}
		answer := &outcome{ResponseWriter: w, closes: r.ProtoMajor == 1}
		defer func() { request.done(answer.success()) }()
		if r.Body == nil || r.ContentLength == 0 {
			request.arrived()
		} else {
			r.Body = request
		}
		next.ServeHTTP(answer, r)
		answer.ended = true
	})
}

func safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// outcome notes the status of an answer.
type outcome struct {
	http.ResponseWriter
	closes bool // the connection can be closed after the answer
	status int  // 0 if the handler has not said one
	ended  bool // the handler has returned, and not panicked
}

func (o *outcome) WriteHeader(status int) {
	if o.status < http.StatusOK {
		o.status = status
	}
	// http.MaxBytesReader would tell net/http itself, and does not know it behind
	// this: the rest of what is too large is not read.
	if status == http.StatusRequestEntityTooLarge && o.closes {
		o.Header().Set("Connection", "close")
	}
	o.ResponseWriter.WriteHeader(status)
}

func (o *outcome) Write(p []byte) (int, error) {
	if o.status < http.StatusOK {
		o.status = http.StatusOK
	}
	return o.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (o *outcome) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// success also counts an answer without a word, for which net/http writes 200. A
// handler that panics has none.
func (o *outcome) success() bool { return o.status < 300 && o.ended }

// arrival is the body of a request, and notes its end.
type arrival struct {
	conn *gateConn
	body io.ReadCloser
	left int64 // of the body; negative if its length is unknown
	once sync.Once
	all  bool // guarded by gate.mu
}

func (a *arrival) Read(p []byte) (int, error) {
	n, err := a.body.Read(p)
	if a.left > 0 {
		a.left = max(0, a.left-int64(n))
	}
	// Who decodes what it reads may never ask for the end.
	if err != nil || a.left == 0 {
		a.arrived()
	}
	return n, err
}

func (a *arrival) Close() error { return a.body.Close() }

// arrived also follows a body that broke off: the answer says so.
func (a *arrival) arrived() {
	a.once.Do(func() {
		c := a.conn
		c.gate.mu.Lock()
		defer c.gate.mu.Unlock()
		a.all = true
		c.answering++
		c.become(answering)
	})
}

// done ends the protection of a request. Success puts the connection among the
// young ones: it has been of use.
func (a *arrival) done(success bool) {
	a.once.Do(func() {}) // not afterwards
	c := a.conn
	g := c.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if !a.all {
		return // an answer to half a request is none that counts
	}
	if c.answering--; c.answering == 0 {
		c.become(reading) // until net/http says that it is idle
	}
	if !success {
		return
	}
	c.since = g.now()
	if c.place != nil {
		g.conns.MoveToBack(c.place)
	}
}
