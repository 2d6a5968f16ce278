package adminhttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"mintmark/admin"
	"mintmark/internal/access"
	"mintmark/internal/keystore/token"
)

// Token is a PKCS#11 token. Its methods may be called concurrently.
type Token interface {
	// Status says at once how it is.
	Status() token.Status
	// Unlock takes a PIN, or one person's part of it, and wipes it.
	Unlock(ctx context.Context, u token.Unlock) (token.Status, error)
}

const (
	unlockToken = "POST /v1/hsm/{name}/unlock"
	// unlockTimeout bounds an unlock: at a PIN pad, or with cards, people take their
	// time.
	unlockTimeout = 5 * time.Minute
)

func (h *handler) hsmRoutes() []route {
	return []route{
		{"GET /v1/hsm", access.HSMRead, h.showTokens},
		{unlockToken, access.HSMUnlock, h.unlockToken},
	}
}

func (h *handler) tokens() []Token {
	if h.Tokens == nil {
		return nil
	}
	return h.Tokens()
}

func (h *handler) showTokens(w http.ResponseWriter, r *http.Request) error {
	if p := query(r); p.err != nil {
		return p.err
	}
	list := []admin.HSMToken{}
	for _, t := range h.tokens() {
		list = append(list, tokenOf(t.Status()))
	}
	return writeJSON(w, http.StatusOK, list)
}

// unlockToken takes a PIN to a token. The PIN is in the request and nowhere else: the
// body is read into one buffer, which is wiped, and so is what comes out of it.
func (h *handler) unlockToken(w http.ResponseWriter, r *http.Request) error {
	var in admin.HSMUnlock
	defer func() { clear(in.PIN) }()
	if err := decodeSecret(r, &in, "spare", "pin", "again", "final_try"); err != nil {
		return err
	}
	if who := caller(r); in.FinalTry && !admits(who, access.HSMUnlockFinal) {
		return denied(who, access.HSMUnlockFinal)
	}
	name := r.PathValue("name")
	list := h.tokens()
	i := slices.IndexFunc(list, func(t Token) bool { return t.Status().Name == name })
	if i < 0 {
		return fail(http.StatusNotFound, "hsm", "there is no token of that name: mintmark hsm status shows them")
	}
	if in.Spare && len(list[i].Status().Legs) < 2 {
		return fail(http.StatusConflict, "hsm", "token %q has no spare", name)
	}
	if len(in.PIN) > admin.MaxPIN {
		return fail(http.StatusBadRequest, "hsm", "the PIN is longer than %d bytes", admin.MaxPIN)
	}
	ctx, cancel := context.WithTimeout(r.Context(), unlockTimeout)
	defer cancel()
	who := actor(r)
	status, err := list[i].Unlock(ctx, token.Unlock{Spare: in.Spare, By: who, PIN: in.PIN, Again: in.Again, FinalTry: in.FinalTry})
	log := h.Logger.With("token", name, "spare", in.Spare, "by", who)
	if err != nil {
		log.Warn("a token was not unlocked", "error", err)
		return refusedUnlock(name, err)
	}
	out := tokenOf(status)
	leg := out.Legs[0]
	if in.Spare {
		leg = out.Legs[1]
	}
	if leg.PartsTyped < leg.PartsNeeded {
		log.Info("a part of a PIN was given", "parts", leg.PartsTyped, "needed", leg.PartsNeeded)
	} else {
		log.Info("a token was unlocked", "state", leg.State, "again", in.Again, "final_try", in.FinalTry)
	}
	return writeJSON(w, http.StatusOK, out)
}

// refusedUnlock words why a token was not unlocked. The errors of package token name
// tokens and return values, and hold no PIN.
func refusedUnlock(name string, err error) error {
	var away *token.UnavailableError
	switch {
	case errors.Is(err, token.ErrPIN):
		return fail(http.StatusForbidden, "hsm-pin", "token %q refused the PIN; it was tried once, and tokens lock after a few wrong ones: %v", name, err)
	case errors.As(err, &away):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return fail(http.StatusServiceUnavailable, "hsm", "token %q did not answer in time: mintmark hsm status says how it is", name)
	}
	return fail(http.StatusConflict, "hsm", "%v", err)
}

// decodeSecret is decode for a body with a secret in it, of which no copy is left: a
// json.Decoder has buffers of its own.
func decodeSecret(r *http.Request, into any, known ...string) error {
	if mediaType(r) != "application/json" {
		return fail(http.StatusUnsupportedMediaType, "content-type", "the body must be application/json")
	}
	buffer := make([]byte, maxBody(r)+1)
	defer clear(buffer)
	n, err := io.ReadFull(r.Body, buffer)
	switch {
	case err == nil:
		return &http.MaxBytesError{Limit: maxBody(r)}
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return malformed(err)
	}
	var names map[string]ignored
	if err := json.Unmarshal(buffer[:n], &names); err != nil {
		return unreadable(err)
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !slices.Contains(known, name) {
			return fail(http.StatusBadRequest, "json", "the body cannot be read: unknown field %q", shorten(name))
		}
	}
	if err := json.Unmarshal(buffer[:n], into); err != nil {
		return unreadable(err)
	}
	return nil
}

// ignored is a value in JSON that is not looked at, and not copied.
type ignored struct{}

// UnmarshalJSON implements json.Unmarshaler.
func (*ignored) UnmarshalJSON([]byte) error { return nil }

// unreadable says that a body is no JSON, without repeating what is in it.
func unreadable(err error) error {
	var syntax *json.SyntaxError
	text := "a field has a value of another kind"
	if errors.As(err, &syntax) {
		text = fmt.Sprintf("it is no JSON from byte %d on", syntax.Offset)
	}
	return fail(http.StatusBadRequest, "json", "the body cannot be read: %s", text)
}

func tokenOf(s token.Status) admin.HSMToken {
	out := admin.HSMToken{Name: s.Name, Legs: []admin.HSMLeg{}}
	for _, leg := range s.Legs {
		library := strings.TrimSpace(leg.Token.Library + " " + leg.Token.LibraryVersion)
		out.Legs = append(out.Legs, admin.HSMLeg{
			Spare: leg.Spare, State: string(leg.State), Since: utc(leg.Since), Detail: leg.Detail, Problems: leg.Problems,
			Label: leg.Token.Label, Serial: leg.Token.Serial, Manufacturer: leg.Token.Manufacturer, Model: leg.Token.Model,
			Library: library, Sessions: leg.Token.Sessions, PartsTyped: leg.Parts, PartsNeeded: leg.Needed, PartsBy: leg.By, Reopens: leg.Reopens,
		})
	}
	return out
}

// tokenWords says of the legs of the tokens that are not ready how they are and what to do.
func (h *handler) tokenWords() []string {
	var words []string
	for _, t := range h.tokens() {
		s := t.Status()
		for _, leg := range unready(s) {
			words = append(words, legWords(s.Name, leg))
		}
	}
	return words
}

// TokenWords says of the legs of a token that are not ready how they are, for those who may
// know no more: nothing of files, of PINs and of what the token answered.
func TokenWords(s token.Status) []string {
	var words []string
	for _, leg := range unready(s) {
		words = append(words, legName(s.Name, leg.Spare)+" is "+StateWords(leg.State))
	}
	return words
}

// unready are the legs that are not ready. One that nobody has used yet is left out.
func unready(s token.Status) []token.LegStatus {
	return slices.DeleteFunc(slices.Clone(s.Legs), func(leg token.LegStatus) bool { return leg.State == token.Ready || leg.State == token.Idle })
}

func legName(name string, spare bool) string {
	if spare {
		return fmt.Sprintf("the spare of token %q", name)
	}
	return fmt.Sprintf("token %q", name)
}

func legWords(name string, leg token.LegStatus) string {
	flag := ""
	if leg.Spare {
		flag = " --spare"
	}
	text := legName(name, leg.Spare) + " is " + StateWords(leg.State)
	if !leg.Since.IsZero() {
		text += " since " + leg.Since.UTC().Format(minute)
	}
	if leg.Detail != "" {
		text += ": " + leg.Detail
	}
	switch {
	case leg.State == token.Locked && leg.Needed > 1:
		text += fmt.Sprintf("; %d of %d parts of the PIN were typed: mintmark hsm unlock %s%s", leg.Parts, leg.Needed, name, flag)
	case leg.State == token.Locked:
		text += fmt.Sprintf("; mintmark hsm unlock %s%s", name, flag)
	case leg.State == token.Refused:
		text += fmt.Sprintf("; put the PIN right, then mintmark hsm unlock %s%s --again", name, flag)
	}
	return text
}

// StateWords words a state, after "is".
func StateWords(s token.State) string {
	switch s {
	case token.Opening:
		return "being opened"
	case token.Absent:
		return "not there"
	case token.Locked:
		return "locked and waits for operators"
	case token.Refused:
		return "unused, because it refused the PIN,"
	}
	return string(s)
}
