package awssim

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// controlHandler serves every service on one port, as aws --endpoint-url expects.
// The credential scope of the signature names the service and the region.
func (s *Sim) controlHandler() http.Handler {
	debug := s.debugHandler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.enter() {
			http.Error(w, "the simulator is closed", http.StatusServiceUnavailable)
			return
		}
		defer s.wg.Done()
		if strings.HasPrefix(r.URL.Path, "/_sim/") {
			debug.ServeHTTP(w, r)
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
		sc, denied := verifySigV4(r, body, s.keys, s.cfg.SignedAt())
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
		c := &call{w: world, r: r, body: body, query: r.URL.Query(), caller: sc.credential}
		switch sc.service {
		case "iot", "execute-api": // botocore, seen in aws-cli 2.9, signs IoT requests for execute-api
			s.serveIoT(w, c)
		case "sts":
			s.serveSTS(w, c)
		case "dynamodb":
			s.serveDynamoDB(w, c)
		case "s3":
			s.serveS3(w, c)
		case "iotdata", "iotdevicegateway":
			s.serveIoTData(w, c)
		case "lambda":
			s.serveInvoke(w, c)
		case "secretsmanager":
			s.serveSecrets(w, c)
		default:
			noOperation("the service " + sc.service).writeRESTJSON(w)
		}
	})
}

// protocolOf guesses the error format of a request that has not authenticated.
func (s *Sim) protocolOf(r *http.Request) func(*apiError, http.ResponseWriter) {
	auth, _ := parseAuthorization(r.Header.Get("Authorization"))
	switch {
	case auth.service == "s3":
		return func(e *apiError, w http.ResponseWriter) { writeS3Error(w, r, e) }
	case r.Header.Get("X-Amz-Target") != "":
		return dynamoAuthError
	case strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		return (*apiError).writeQuery
	}
	return (*apiError).writeRESTJSON
}

// perform runs one operation of the control plane: it holds the world's lock while
// the operation runs, and runs its after-effects without it. write must write the
// answer. What the operation sets off is complete before the answer leaves.
func (s *Sim) perform(w http.ResponseWriter, c *call, op string, run func() (any, error), write func(any, *apiError)) {
	out := c.w.undergo(op, func() (any, error) {
		c.w.mu.Lock()
		answer, err := func() (any, error) {
			defer c.w.mu.Unlock()
			return run()
		}()
		for _, f := range c.after {
			f()
		}
		return answer, err
	})
	if out.cut {
		panic(http.ErrAbortHandler) // net/http cuts the connection without an answer
	}
	write(out.answer, out.failed)
}

// call is one request to one world.
type call struct {
	w      *world
	r      *http.Request
	path   map[string]string
	query  url.Values
	body   []byte
	caller credential
	after  []func() // run without the world's lock, before the answer leaves
}

// then schedules f for after the operation.
func (c *call) then(f func()) { c.after = append(c.after, f) }

// readLimited reads a request's body of at most limit bytes.
func readLimited(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	return body, nil
}

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
