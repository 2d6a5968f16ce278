package adminhttp

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"mintmark/internal/access"
	"mintmark/issuer"
)

// actorKey is the context key of the principal that makes a request.
type actorKey struct{}

// caller is the principal that serve has authenticated.
func caller(r *http.Request) access.Principal {
	p, _ := r.Context().Value(actorKey{}).(access.Principal)
	return p
}

// actor is the caller's name.
func actor(r *http.Request) string { return caller(r).Name }

// serve wraps an operation: it denies whom Actor does not name and what the
// table of package access does not allow, chooses the status of a refusal, and
// logs once.
func (h *handler) serve(op access.Operation, fn operation) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := requestID()
		w.Header().Set("X-Request-Id", id)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		answer := &recorder{ResponseWriter: w}

		principal, ok, err := h.Actor(r)
		switch {
		case err != nil:
		case !ok:
			err = fail(http.StatusForbidden, "actor", "the caller is nobody whom this server knows: a principal with this Unix user or certificate must be added")
		case !admits(principal, op):
			err = denied(principal, op)
		default:
			r.Body = http.MaxBytesReader(w, r.Body, maxBody(r))
			note := new(alone)
			err = fn(answer, r.WithContext(context.WithValue(context.WithValue(r.Context(), actorKey{}, principal), aloneKey{}, note)))
			h.logAlone(note, principal.Name, err)
		}
		if err != nil && answer.status == 0 {
			writeError(answer, id, err)
		}
		h.logRequest(r, id, principal.Name, answer.status, time.Since(start), err)
	})
}

// admits reports whether a principal may enter a route of that operation. What
// may be issued depends on the profile: issue asks again for each.
func admits(who access.Principal, op access.Operation) bool {
	return who.Can(op) || op == access.CertificateIssue && who.Can(access.RAIssue)
}

// logRequest writes the one line of a request. Reading without error is not
// worth one in a production log.
func (h *handler) logRequest(r *http.Request, id, actor string, status int, took time.Duration, err error) {
	level := slog.LevelInfo
	var told *failure
	switch {
	case err != nil && status >= http.StatusInternalServerError && !errors.As(err, &told):
		level = slog.LevelError // the caller has not been told why
	case err == nil && r.Method == http.MethodGet:
		level = slog.LevelDebug
	}
	attributes := []slog.Attr{
		slog.String("method", r.Method), slog.String("path", shorten(r.URL.Path)), slog.String("actor", actor),
		slog.Int("status", status), slog.Duration("took", took), slog.String("request", id),
	}
	if err != nil {
		attributes = append(attributes, slog.Any("error", err))
	}
	h.Logger.LogAttrs(r.Context(), level, "admin request", attributes...)
}

// shorten bounds what a stranger can write into the log.
func shorten(s string) string {
	const most = 256
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// recorder remembers the status that was sent.
type recorder struct {
	http.ResponseWriter
	status int
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController flush.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	content, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, err := w.Write(append(content, '\n')); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}

// writeError answers with what err is to the caller.
func writeError(w http.ResponseWriter, id string, err error) {
	status, body := describe(err)
	body.RequestID = id
	if body.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(body.RetryAfter.Seconds()))))
	}
	content, _ := json.Marshal(body)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(content, '\n'))
}

func requestID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// refusalOf finds the refusal in an error.
func refusalOf(err error) (*issuer.Refusal, bool) {
	var r *issuer.Refusal
	ok := errors.As(err, &r)
	return r, ok
}
