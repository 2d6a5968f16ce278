package adminhttp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"mintmark/admin"
	"mintmark/admin/adminhttp"
	"mintmark/internal/access"
	"mintmark/internal/keystore/token"
)

// box is a token that takes every PIN but one and remembers whose it got. The real
// ones are package token's to prove, and internal/server's.
type box struct {
	mu     sync.Mutex
	status token.Status
	pins   map[string]bool
	calls  []token.Unlock
	err    error
	held   [][]byte // what it was handed, to see it wiped
}

func newBox(name string) *box {
	return &box{status: token.Status{Name: name, Legs: []token.LegStatus{{State: token.Locked, Needed: 2}, {Spare: true, State: token.Ready}}}, pins: make(map[string]bool)}
}

func (b *box) Status() token.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status
}

func (b *box) Unlock(_ context.Context, u token.Unlock) (token.Status, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return token.Status{}, b.err
	}
	b.pins[string(u.PIN)] = true
	b.held = append(b.held, u.PIN)
	u.PIN = bytes.Clone(u.PIN)
	b.calls = append(b.calls, u)
	return b.status, nil
}

func (b *box) got(pin string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.pins[pin]
}

// withBox is a world with one token, and the log of its API.
func withBox(t *testing.T, b *box) (*world, *bytes.Buffer) {
	log := new(bytes.Buffer)
	return open(t, func(c *adminhttp.Config) {
		c.Tokens = func() []adminhttp.Token { return []adminhttp.Token{b} }
		c.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Actor = func(*http.Request) (access.Principal, bool, error) {
			return access.Principal{Name: "olga", Roles: []access.Role{access.Operator, access.Officer}}, true, nil
		}
	}), log
}

func TestHSM(t *testing.T) {
	b := newBox("factory")
	since := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	b.status.Legs[0] = token.LegStatus{State: token.Locked, Since: since, Detail: "the server has started", Parts: 1, Needed: 2, Reopens: map[string]int{"hang": 3}}
	w, log := withBox(t, b)
	list, err := w.client.HSM(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Name != "factory" || len(list[0].Legs) != 2 || !list[0].Legs[1].Spare {
		t.Fatalf("tokens: %+v", list)
	}
	if leg := list[0].Legs[0]; leg.State != "locked" || leg.Since == nil || !leg.Since.Equal(since) || leg.PartsTyped != 1 || leg.PartsNeeded != 2 || leg.Reopens["hang"] != 3 {
		t.Errorf("primary: %+v", leg)
	}
	status, err := w.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := `token "factory" is locked and waits for operators since 2026-11-02 12:00 UTC: the server has started; 1 of 2 parts of the PIN were typed: mintmark hsm unlock factory`
	if len(status.Tokens) != 1 || status.Tokens[0] != want {
		t.Errorf("status: %q, want %q", status.Tokens, want)
	}

	pin := []byte("98\"76\x0054 ä")
	got, err := w.client.UnlockHSM(t.Context(), "factory", admin.HSMUnlock{PIN: pin, Again: true, FinalTry: true})
	if err != nil || got.Name != "factory" {
		t.Fatalf("unlock: %+v, %v", got, err)
	}
	if !b.got("98\"76\x0054 ä") || len(b.calls) != 1 || b.calls[0].By != "olga" || b.calls[0].Spare || !b.calls[0].Again || !b.calls[0].FinalTry {
		t.Errorf("the token got %+v", b.calls)
	}
	if bytes.ContainsFunc(pin, func(r rune) bool { return r != 0 }) {
		t.Errorf("the client kept the PIN: %q", pin)
	}
	if held := b.held[0]; bytes.ContainsFunc(held, func(r rune) bool { return r != 0 }) {
		t.Errorf("the server kept the PIN: %q", held)
	}
	if text := log.String(); !strings.Contains(text, `msg="a part of a PIN was given" token=factory spare=false by=olga parts=1 needed=2`) || strings.Contains(text, "OTgi") || strings.Contains(text, "76\\") {
		t.Errorf("the log: %s", text)
	}
	// The spare, which is ready already.
	if _, err := w.client.UnlockHSM(t.Context(), "factory", admin.HSMUnlock{Spare: true}); err != nil {
		t.Fatal(err)
	}
	if !b.calls[1].Spare || len(b.calls[1].PIN) != 0 || !strings.Contains(log.String(), `msg="a token was unlocked" token=factory spare=true by=olga state=ready`) {
		t.Errorf("the token got %+v; the log: %s", b.calls[1], log)
	}
}

func TestHSMRefused(t *testing.T) {
	b := newBox("factory")
	w, log := withBox(t, b)
	unlock := func(name string, u admin.HSMUnlock) error {
		_, err := w.client.UnlockHSM(t.Context(), name, u)
		return err
	}
	refused(t, unlock("other", admin.HSMUnlock{PIN: []byte("1")}), http.StatusNotFound, "hsm")
	refused(t, unlock("a/../factory", admin.HSMUnlock{PIN: []byte("1")}), http.StatusNotFound, "hsm")
	if err := unlock("factory", admin.HSMUnlock{PIN: make([]byte, admin.MaxPIN+1)}); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a long PIN: %v", err)
	}
	for _, test := range []struct {
		err    error
		status int
		rule   string
	}{
		{fmt.Errorf("logging in: %w", token.ErrPIN), http.StatusForbidden, "hsm-pin"},
		{&token.UnavailableError{Token: "factory", State: token.Absent, Wait: 7 * time.Second, Err: errors.New("no such token")}, http.StatusServiceUnavailable, "key-unavailable"},
		{errors.New("olga has typed a part already: another person types the next"), http.StatusConflict, "hsm"},
		{fmt.Errorf("waiting: %w", context.DeadlineExceeded), http.StatusServiceUnavailable, "hsm"},
	} {
		b.err = test.err
		err := unlock("factory", admin.HSMUnlock{PIN: []byte("987654")})
		refused(t, err, test.status, test.rule)
		var told *admin.Error
		if errors.As(err, &told) && test.rule == "key-unavailable" && told.RetryAfter != 7*time.Second {
			t.Errorf("come back after %v", told.RetryAfter)
		}
	}
	b.err = nil
	b.status.Legs = b.status.Legs[:1]
	refused(t, unlock("factory", admin.HSMUnlock{Spare: true, PIN: []byte("987654")}), http.StatusConflict, "hsm")
	for body, want := range map[string]int{
		`{"pin":"OTg3NjU0","pni":"OTg3NjU0"}`: http.StatusBadRequest, `{"PIN":"OTg3NjU0"}`: http.StatusBadRequest,
		`{"pin":987654}`: http.StatusBadRequest, `{"pin":"987654!"}`: http.StatusBadRequest, `["987654"]`: http.StatusBadRequest, `{"pin":"OTg3NjU0"`: http.StatusBadRequest,
		`{"pin":"OTg3NjU0"} {}`: http.StatusBadRequest, `"987654"`: http.StatusBadRequest, "": http.StatusBadRequest, "987654": http.StatusBadRequest,
		`{"pin":"` + strings.Repeat("OTg3NjU0", 600) + `"}`: http.StatusRequestEntityTooLarge,
	} {
		answer := (&people{world: w}).ask(t, "olga", "POST", wire{path: "/v1/hsm/factory/unlock", body: body, media: "application/json"})
		if answer.Code != want || strings.Contains(answer.Body.String(), "987654") || strings.Contains(answer.Body.String(), "OTg3") {
			t.Errorf("%.40s: answered %d %s, want %d", body, answer.Code, answer.Body, want)
		}
	}
	if answer := (&people{world: w}).ask(t, "olga", "POST", wire{path: "/v1/hsm/factory/unlock", body: "pin=987654", media: "application/x-www-form-urlencoded"}); answer.Code != http.StatusUnsupportedMediaType {
		t.Errorf("a form: %d %s", answer.Code, answer.Body)
	}
	if len(b.calls) != 0 {
		t.Errorf("the token was asked: %+v", b.calls)
	}
	if strings.Contains(log.String(), "987654") || strings.Contains(log.String(), "OTg3") {
		t.Errorf("the log has the PIN: %s", log)
	}
}

// FuzzUnlock: whatever is sent, the token gets a PIN of at most MaxPIN bytes or none,
// and nothing that was sent is repeated.
func FuzzUnlock(f *testing.F) {
	for _, s := range []string{`{"pin":"OTg3NjU0"}`, `{"pin":"OTg3NjU0","spare":true,"again":true,"final_try":true}`, `{"pin":1}`, `{}`, `null`, `[]`, `{"pin":"a`} {
		f.Add([]byte(s))
	}
	b := newBox("factory")
	w := open(f, func(c *adminhttp.Config) { c.Tokens = func() []adminhttp.Token { return []adminhttp.Token{b} } })
	p := &people{world: w}
	f.Fuzz(func(t *testing.T, body []byte) {
		b.calls, b.held = nil, nil
		answer := p.ask(t, "olga", "POST", wire{path: "/v1/hsm/factory/unlock", body: string(body), media: "application/json"})
		switch {
		case answer.Code == http.StatusOK && len(b.calls) == 1 && len(b.calls[0].PIN) <= admin.MaxPIN:
		case answer.Code >= 400 && answer.Code < 500 && len(b.calls) == 0:
		default:
			t.Errorf("answered %d %s; the token got %+v", answer.Code, answer.Body, b.calls)
		}
		for _, held := range b.held {
			if bytes.ContainsFunc(held, func(r rune) bool { return r != 0 }) {
				t.Errorf("the PIN %q is still there", held)
			}
		}
	})
}
