package awssim

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// controlHandler serves every service on one port, as aws --endpoint-url expects.
// The credential scope of the signature names the service and the region.
func (s *Sim) controlHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/_sim/") {
			s.serveDebug(w, r)
			return
		}
		w.Header().Set("x-amzn-RequestId", randomID())
		write := func(e *apiError) { s.protocolOf(r)(e, w) }
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			write(&apiError{code: "RequestEntityTooLargeException", status: http.StatusRequestEntityTooLarge,
				message: fmt.Sprintf("reading the body: %v", err)})
			return
		}
		sc, denied := verifySigV4(r, body, s.cfg.Accounts, s.cfg.Now())
		if denied != nil {
			s.cfg.Logger.Info("request refused", "method", r.Method, "path", r.URL.Path, "code", denied.code)
			write(denied)
			return
		}
		if !regionName.MatchString(sc.region) {
			write(&apiError{code: "SignatureDoesNotMatch", status: http.StatusForbidden,
				message: fmt.Sprintf("Credential should be scoped to a valid region, not %q", sc.region)})
			return
		}
		world, err := s.world(sc.account, sc.region)
		if err != nil {
			write(&apiError{code: "ServiceUnavailableException", status: http.StatusServiceUnavailable, message: err.Error()})
			return
		}
		c := &call{w: world, r: r, body: body, query: r.URL.Query()}
		switch sc.service {
		case "iot", "execute-api": // botocore, seen in aws-cli 2.9, signs IoT requests for execute-api
			s.serveIoT(w, c)
		case "sts":
			s.serveSTS(w, c)
		case "dynamodb":
			s.serveDynamoDB(w, c)
		default:
			noOperation("the service " + sc.service).writeRESTJSON(w)
		}
	})
}

// protocolOf guesses the error format of a request that has not authenticated.
func (s *Sim) protocolOf(r *http.Request) func(*apiError, http.ResponseWriter) {
	switch {
	case r.Header.Get("X-Amz-Target") != "":
		return dynamoAuthError
	case strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		return (*apiError).writeQuery
	}
	return (*apiError).writeRESTJSON
}

// perform runs one operation: it records the call, meets the faults, holds the
// world's lock while the operation runs, and runs its after-effects without it.
// write must write the answer. What the operation sets off is complete before
// the answer leaves.
func (s *Sim) perform(w http.ResponseWriter, c *call, op string, run func() (any, error), write func(any, *apiError)) {
	start := time.Now()
	fault := s.faults.record(op)
	var answer any
	var err error
	if fault == nil || fault.AfterEffect {
		func() {
			c.w.mu.Lock()
			defer c.w.mu.Unlock()
			answer, err = run()
		}()
		for _, f := range c.after {
			f()
		}
	}
	var failed *apiError
	if err != nil && !errors.As(err, &failed) {
		failed = iotError("InternalFailureException", "%v", err)
	}
	code := "ok"
	if failed != nil {
		code = failed.code
	}
	if fault != nil {
		code = "injected " + fault.Code
	}
	s.cfg.Logger.Info("call", "operation", op, "account", c.w.account.ID, "region", c.w.region, "result", code, "duration", time.Since(start))
	switch {
	case fault != nil && fault.Code == "":
		c.w.note("fault.injected", "the connection was cut instead of an answer", "operation", op)
		panic(http.ErrAbortHandler) // net/http cuts the connection without an answer
	case fault != nil:
		c.w.note("fault.injected", "answered with "+fault.Code, "operation", op)
		write(nil, &apiError{code: fault.Code, status: fault.Status, message: "injected fault"})
	default:
		write(answer, failed)
	}
}

// call is one request to one world.
type call struct {
	w     *world
	r     *http.Request
	path  map[string]string
	query url.Values
	body  []byte
	after []func() // run without the world's lock, before the answer leaves
}

// then schedules f for after the operation.
func (c *call) then(f func()) { c.after = append(c.after, f) }

func randomID() string {
	var b [16]byte
	rand.Read(b[:])
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func hostOf(addr net.Addr) string {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	return host
}
