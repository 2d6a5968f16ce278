package est

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// exchange is one request on its way to an answer.
type exchange struct {
	w      http.ResponseWriter
	r      *http.Request
	op     string
	label  *label
	peer   netip.Addr
	client *x509.Certificate // the TLS client's certificate, not verified; nil for none
	attrs  []slog.Attr       // for the log line, gathered on the way

	read   bool   // the certification request: see request
	csr    []byte // DER
	unread error  // why there is none

	given  []*x509.Certificate // by cacerts
	unsent bool                // the answer could not be written: the client has gone

	// For the record of a refusal, as far as they are known.
	who    ledger.Requester // as authenticated, or as claimed
	device string
	order  string
}

func (x *exchange) note(attrs ...slog.Attr) { x.attrs = append(x.attrs, attrs...) }

// operation is one EST operation: what it is called, how it is called and what
// it does.
type operation struct {
	name    string
	methods []string
	run     func(x *exchange) (response, error)
}

// routes maps the paths of RFC 7030, Section 3.2.2 to operations.
func (h *Handler) routes() *http.ServeMux {
	mux := http.NewServeMux()
	get, post := []string{http.MethodGet, http.MethodHead}, []string{http.MethodPost}
	for _, op := range []operation{
		{"cacerts", get, h.caCerts},
		{"simpleenroll", post, h.simpleEnroll},
		{"simplereenroll", post, h.simpleReenroll},
		{"csrattrs", get, h.csrAttrs},
		// RFC 7030, Sections 4.3 and 4.4: optional operations that a server
		// does not implement answer 404 or 501.
		{"fullcmc", post, h.fullCMC},
		{"serverkeygen", post, h.serverKeygen},
	} {
		mux.Handle("/.well-known/est/"+op.name, h.serve(op))
		mux.Handle("/.well-known/est/{label}/"+op.name, h.serve(op))
		// strongSwan puts the label in front, because it appends the
		// well-known path to whatever URL it was given.
		mux.Handle("/{label}/.well-known/est/"+op.name, h.serve(op))
	}
	mux.Handle("/", h.serve(operation{unknown, nil, nil}))
	return mux
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A path that the mux would clean and redirect is not one of ours.
	if escaped := r.URL.EscapedPath(); path.Clean("/"+escaped) != escaped {
		h.serve(operation{unknown, nil, nil}).ServeHTTP(w, r)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// serve runs an operation, answers, and writes one log line and one count.
func (h *Handler) serve(op operation) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := h.now()
		x := &exchange{w: w, r: r, op: op.name, peer: peer(r)}
		if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
			x.client = r.TLS.PeerCertificates[0]
		}
		answer, err := h.run(op, x)
		var f *failure
		if err != nil {
			f = h.refuse(x, err)
		} else {
			x.send(answer)
			h.tell(x, answer)
			f = &failure{status: answer.status}
		}
		h.record(x, f, h.now().Sub(start))
		h.refused(x, f)
	})
}

// run checks what all operations have in common.
func (h *Handler) run(op operation, x *exchange) (response, error) {
	// RFC 7030, Section 3.3: HTTP without TLS is not EST.
	if x.r.TLS == nil {
		return response{}, fail(http.StatusForbidden, ruleHTTPS, "EST needs TLS")
	}
	if op.run == nil {
		return response{}, fail(http.StatusNotFound, rulePath, "no such path")
	}
	name := x.r.PathValue("label")
	if x.label = h.labels[name]; x.label == nil {
		return response{}, fail(http.StatusNotFound, ruleLabel, "there is no label %q here", shorten(name))
	}
	if !slices.Contains(op.methods, x.r.Method) {
		f := fail(http.StatusMethodNotAllowed, ruleMethod, "the method must be %s", op.methods[0])
		f.allow = strings.Join(op.methods, ", ")
		return response{}, f
	}
	if err := h.limitAddress(x); err != nil {
		return response{}, err
	}
	return op.run(x)
}

// refuse answers an error.
func (h *Handler) refuse(x *exchange, err error) *failure {
	// Take the body before the answer. In HTTP/2 the server resets a stream
	// whose body nobody read, and curl takes that for an error although the
	// answer came before.
	_, _ = io.CopyN(io.Discard, x.r.Body, maxBody)

	f := toFailure(err)
	if f.status == http.StatusUnauthorized && (x.label == nil || !x.label.basic()) {
		// A 401 must carry a challenge (RFC 9110, Section 15.5.2), and there
		// is none to give.
		f.status = http.StatusForbidden
	}
	if errors.Is(f.err, context.Canceled) && x.r.Context().Err() != nil {
		f = &failure{status: http.StatusServiceUnavailable, rule: ruleCancelled, text: "the client went away", err: f.err}
	}
	a := response{status: f.status, contentType: "text/plain; charset=utf-8"}
	header := x.w.Header()
	switch f.status {
	case http.StatusUnauthorized:
		// Assigned, because Set would write Www-Authenticate, which libest
		// does not recognise. The body stays empty for BouncyCastle.
		header["WWW-Authenticate"] = []string{h.challenge}
		a.contentType = ""
	case http.StatusAccepted:
		// RFC 7030, Section 4.2.3. Without a body, too.
		a.contentType = ""
		if x.label.Retry > 0 {
			f.retry = x.label.Retry
		} else if f.retry <= 0 {
			f.retry = time.Minute
		}
	case http.StatusInternalServerError:
		id := requestID()
		x.note(slog.String("request", id))
		a.body = fmt.Appendf(nil, "internal error: the server's log has it as request %s\n", id)
	default:
		// RFC 8951, Section 5: errors may be explained in plain text.
		a.body = fmt.Appendf(nil, "refused by rule %s: %s\n", f.rule, f.text)
	}
	if f.allow != "" {
		header.Set("Allow", f.allow)
	}
	switch f.status {
	case http.StatusAccepted, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		header.Set("Retry-After", strconv.Itoa(retryAfter(f.retry)))
	}
	x.send(a)
	return f
}

// record writes the log line and the metrics of one request.
func (h *Handler) record(x *exchange, f *failure, took time.Duration) {
	name, known := unknown, x.label != nil
	if known {
		name = x.label.Name
	}
	h.metrics.requests.WithLabelValues(x.op, name, strconv.Itoa(f.status), f.rule).Inc()
	h.metrics.seconds.WithLabelValues(x.op).Observe(took.Seconds())

	level := slog.LevelInfo
	attrs := []slog.Attr{slog.String("op", x.op), slog.String("label", name), slog.String("peer", x.peer.String())}
	attrs = append(attrs, x.attrs...)
	attrs = append(attrs, slog.Int("status", f.status))
	if f.rule != "" {
		switch f.status {
		case http.StatusAccepted: // no refusal
		case http.StatusInternalServerError:
			level = slog.LevelError
		default:
			level = slog.LevelWarn
		}
		attrs = append(attrs, slog.String("rule", f.rule), slog.String("refusal", f.text))
	}
	if !known {
		attrs = append(attrs, slog.String("method", shorten(x.r.Method)), slog.String("path", shorten(x.r.URL.Path)))
	}
	if f.err != nil {
		attrs = append(attrs, slog.Any("err", f.err))
	}
	attrs = append(attrs, slog.Duration("duration", took))
	h.logger.LogAttrs(x.r.Context(), level, "est request", attrs...)
}

// refused puts a refusal on record, unless the issuer has. What failed inside
// is none, nor is a client that went away or one that waits.
func (h *Handler) refused(x *exchange, f *failure) {
	if f.rule == "" || f.recorded || f.status == http.StatusInternalServerError || f.status == http.StatusAccepted || f.rule == ruleCancelled {
		return
	}
	r := ledger.Refused{Operation: operationName(x), Rule: f.rule, Text: f.text, Device: x.device, Order: x.order, Requester: x.who}
	r.Requester.Address = x.peer
	if x.label != nil {
		r.Label, r.Profile = x.label.Name, x.label.Profile
	}
	if x.client != nil {
		r.Subject = issuer.NameText(x.client.Subject, x.client.RawSubject)
	}
	h.authority.Refused(r)
}

// operationName is what an exchange is called in the record of refusals.
func operationName(x *exchange) string { return "est " + x.op }

// peer is the address at the other end, without port and zone.
func peer(r *http.Request) netip.Addr {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr().Unmap().WithZone("")
}

// requestID ties an answer to its log line.
func requestID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
