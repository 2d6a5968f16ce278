//go:build linux && cgo && !nopkcs11

package child

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/miekg/pkcs11"

	"mintmark/internal/keystore/token/wire"
)

// library is the module, and the token that was opened last.
type library struct {
	// opening is held while a request uses sessions, and exclusively while they are
	// replaced.
	opening sync.RWMutex

	path        string
	functions   functions
	ctx         *pkcs11.Ctx
	initialized bool
	slot        uint
	hasSlot     bool
	user        bool          // Login did
	sessions    *pool         // nil: not open
	worked      atomic.Bool   // something did since the last Open
	suspect     atomic.Bool   // something failed so that the library must be initialized anew
	keys        sync.Map      // of this Open: handle to *key
	handles     atomic.Uint32 // the last that was given
}

func newLibrary() *library { return new(library) }

// failed makes a *wire.Error of what package pkcs11 returns.
func failed(call string, err error) error {
	if err == nil {
		return nil
	}
	var code pkcs11.Error
	if errors.As(err, &code) {
		return &wire.Error{Call: call, Code: uint(code)}
	}
	return fmt.Errorf("%s: %w", call, err)
}

// hasCode reports whether err is that return value of the library.
func hasCode(err error, code uint) bool {
	var e *wire.Error
	return errors.As(err, &e) && e.Code == code
}

func trouble(kind wire.Kind, format string, args ...any) error {
	return &wire.Trouble{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// open does what wire.Open says.
func (l *library) open(o *wire.Open) (wire.Token, error) {
	l.opening.Lock()
	defer l.opening.Unlock()
	if err := l.load(o.Module); err != nil {
		return wire.Token{}, err
	}
	l.forget()
	suspect, worked := l.suspect.Swap(false), l.worked.Swap(false)
	t, err := l.locate(o.Token, suspect || !worked)
	if err != nil {
		return wire.Token{}, err
	}
	p, err := l.openSessions(o.Sessions)
	if err != nil {
		l.closeSessions()
		return wire.Token{}, err
	}
	l.sessions, l.user = p, false
	t.Sessions = p.size
	return t, nil
}

// probe finds a token and opens no session. Sessions that are open are left.
func (l *library) probe(module string, s wire.Selector) (wire.Token, error) {
	l.opening.Lock()
	defer l.opening.Unlock()
	if err := l.load(module); err != nil {
		return wire.Token{}, err
	}
	if l.sessions != nil {
		return l.search(s)
	}
	return l.locate(s, false)
}

// load loads the module, once.
func (l *library) load(path string) error {
	switch {
	case l.path == path && path != "":
		return nil
	case l.path != "":
		return trouble(wire.BadRequest, "this process holds another PKCS#11 module already")
	case !filepath.IsAbs(path):
		return trouble(wire.NoModule, "the path of the PKCS#11 module %q is not absolute", path)
	}
	f, err := load(path)
	if err != nil {
		return err
	}
	ctx := pkcs11.New(path)
	if ctx == nil {
		return trouble(wire.NoModule, "the PKCS#11 module cannot be loaded")
	}
	l.path, l.functions, l.ctx = path, f, ctx
	return nil
}

// initialize calls C_Initialize, if that is needed.
func (l *library) initialize() error {
	if l.initialized {
		return nil
	}
	err := failed("C_Initialize", l.ctx.Initialize())
	if err != nil && !hasCode(err, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		return err
	}
	l.initialized = true
	return nil
}

// finalize calls C_Finalize. What it returns does not matter: C_Initialize follows.
func (l *library) finalize() {
	if l.initialized {
		l.ctx.Finalize() //nolint:errcheck
		l.initialized = false
	}
}

// forget drops the sessions and keys of the last Open.
func (l *library) forget() {
	l.closeSessions()
	l.keys.Clear()
	l.sessions = nil
}

// closeSessions also logs out (PKCS#11 v2.40, Section 5.6, C_CloseAllSessions).
func (l *library) closeSessions() {
	if l.hasSlot && l.initialized {
		l.ctx.CloseAllSessions(l.slot) //nolint:errcheck // they may be gone, and the slot with them
	}
}

// locate finds the token, and reads the list of slots anew where it is not in it:
// libraries read it when they are initialized. With fresh it does so at once.
func (l *library) locate(s wire.Selector, fresh bool) (wire.Token, error) {
	fresh = fresh && l.initialized
	if fresh {
		l.finalize()
	} else {
		fresh = !l.initialized
	}
	for {
		t, err := l.search(s)
		if err == nil {
			l.slot, l.hasSlot = t.Slot, true
			return t, nil
		}
		var gone *wire.Trouble
		var code *wire.Error
		if fresh || !(errors.As(err, &gone) && gone.Kind == wire.NoToken || errors.As(err, &code)) {
			return wire.Token{}, err
		}
		l.finalize()
		fresh = true
	}
}

// search finds the one token that the selector matches.
func (l *library) search(s wire.Selector) (wire.Token, error) {
	if err := l.initialize(); err != nil {
		return wire.Token{}, err
	}
	slots, err := l.ctx.GetSlotList(true)
	if hasCode(failed("", err), pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED) {
		// Somebody finalized the library behind our back.
		l.initialized = false
		if err := l.initialize(); err != nil {
			return wire.Token{}, err
		}
		slots, err = l.ctx.GetSlotList(true)
	}
	if err != nil {
		return wire.Token{}, failed("C_GetSlotList", err)
	}
	var found wire.Token
	n := 0
	var others []string
	for _, slot := range slots {
		if s.Slot != nil && *s.Slot != slot {
			others = append(others, fmt.Sprintf("slot %d", slot))
			continue
		}
		info, err := l.ctx.GetTokenInfo(slot)
		if err != nil {
			if hasCode(failed("", err), pkcs11.CKR_TOKEN_NOT_PRESENT) || hasCode(failed("", err), pkcs11.CKR_TOKEN_NOT_RECOGNIZED) {
				continue
			}
			return wire.Token{}, failed("C_GetTokenInfo", err)
		}
		if info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			continue
		}
		if !matches(s, &info) {
			others = append(others, fmt.Sprintf("%q", text(info.Label)))
			continue
		}
		n++
		found = wire.Token{
			Label: text(info.Label), Serial: text(info.SerialNumber),
			Manufacturer: text(info.ManufacturerID), Model: text(info.Model),
			Slot: slot, Flags: info.Flags,
		}
	}
	switch {
	case n == 0:
		return wire.Token{}, trouble(wire.NoToken, "the module has no token%s: %s", describe(s), has(others))
	case n > 1:
		return wire.Token{}, trouble(wire.ManyTokens, "the module has %d tokens%s: name one by its serial number", n, describe(s))
	}
	if info, err := l.ctx.GetInfo(); err == nil {
		found.Library = text(strings.TrimSpace(info.ManufacturerID + " " + info.LibraryDescription))
		found.LibraryVersion = fmt.Sprintf("%d.%d", info.LibraryVersion.Major, info.LibraryVersion.Minor)
		found.Cryptoki = fmt.Sprintf("%d.%d", info.CryptokiVersion.Major, info.CryptokiVersion.Minor)
	}
	return found, nil
}

// maxNamed is how many tokens an error names.
const maxNamed = 8

// has says which tokens there are in place of the one that is looked for.
func has(names []string) string {
	switch {
	case len(names) == 0:
		return "it has none"
	case len(names) > maxNamed:
		return fmt.Sprintf("it has %s and %d more", strings.Join(names[:maxNamed], ", "), len(names)-maxNamed)
	}
	return "it has " + strings.Join(names, ", ")
}

func matches(s wire.Selector, info *pkcs11.TokenInfo) bool {
	return (s.Label == "" || s.Label == text(info.Label)) && (s.Serial == "" || s.Serial == text(info.SerialNumber))
}

// text is a padded field of the library (PKCS#11 v2.40, Section 3.2); some pad with
// zeros.
func text(s string) string {
	return strings.ToValidUTF8(strings.TrimRight(s, " \x00"), "?")
}

func describe(s wire.Selector) string {
	var b strings.Builder
	if s.Label != "" {
		fmt.Fprintf(&b, " labelled %q", s.Label)
	}
	if s.Serial != "" {
		fmt.Fprintf(&b, " with the serial number %q", s.Serial)
	}
	if s.Slot != nil {
		fmt.Fprintf(&b, " in slot %d", *s.Slot)
	}
	return b.String()
}
