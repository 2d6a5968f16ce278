package wire

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// message is one that can be appended to a frame and parsed back.
type message interface {
	Append([]byte, uint32) ([]byte, error)
	Parse([]byte) error
}

// handle, signature and attributes are those that are no struct.
type handle uint32

func (h *handle) Append(b []byte, id uint32) ([]byte, error) {
	return AppendHandle(b, id, OpDestroy, uint32(*h)), nil
}

func (h *handle) Parse(b []byte) error {
	v, err := ParseHandle(b)
	*h = handle(v)
	return err
}

type signature []byte

func (s *signature) Append(b []byte, id uint32) ([]byte, error) { return AppendSignature(b, id, *s) }

func (s *signature) Parse(b []byte) (err error) { *s, err = ParseSignature(b); return err }

type attributes []Attribute

func (a *attributes) Append(b []byte, id uint32) ([]byte, error) { return AppendAttributes(b, id, *a) }

func (a *attributes) Parse(b []byte) (err error) { *a, err = ParseAttributes(b); return err }

// failure is the reply that says that a request failed.
type failure struct{ err error }

func (f *failure) Append(b []byte, id uint32) ([]byte, error) { return AppendError(b, id, f.err), nil }

func (f *failure) Parse(b []byte) error {
	f.err = ParseError(Troubled, b)
	if f.err == errMalformed {
		return f.err
	}
	return nil
}

// refusal is the same for an Error.
type refusal struct{ err error }

func (f *refusal) Append(b []byte, id uint32) ([]byte, error) { return AppendError(b, id, f.err), nil }

func (f *refusal) Parse(b []byte) error {
	f.err = ParseError(Refused, b)
	if f.err == errMalformed {
		return f.err
	}
	return nil
}

// empty returns a message of each kind.
func empty() []message {
	return []message{&Open{}, &Login{}, &Probe{}, &Find{}, &Sign{}, &Generate{}, new(handle),
		&Token{}, &Key{}, &signature{}, &attributes{}, &failure{}, &refusal{}}
}

// full returns a message of each kind, in the same order.
func full() []message {
	slot := uint(1 << 40)
	h := handle(7)
	return []message{
		&Open{Module: "/usr/lib/a.so", Token: Selector{Label: "l", Serial: "s", Slot: &slot}, Sessions: 32},
		&Login{PIN: []byte("1234")},
		&Probe{Module: "/usr/lib/a.so", Token: Selector{Label: "l"}},
		&Find{ID: []byte{1}, Label: []byte("label"), Public: []byte{0x30}},
		&Sign{Handle: 1 << 31, Mechanism: RSA, Input: []byte{1, 2, 3}},
		&Generate{ID: []byte{1}, Label: []byte("label"), Algorithm: "P-256"},
		&h,
		&Token{Label: "a", Serial: "b", Manufacturer: "c", Model: "d", Library: "e", LibraryVersion: "2.6", Cryptoki: "2.40", Slot: slot, Flags: 0x40d, Sessions: 4},
		&Key{Handle: 9, ID: []byte{1}, Label: []byte("l"), Public: []byte{0x30}, Modifiable: true},
		&signature{1, 2, 3},
		&attributes{{Name: "CKA_SIGN", Value: true, Known: true}, {Name: "CKA_LOCAL"}},
		&failure{&Trouble{Kind: NotOpen, Text: "the token is not open"}},
		&refusal{&Error{Call: "C_Sign", Code: 0x82}},
	}
}

func TestRoundTrip(t *testing.T) {
	got := empty()
	for i, m := range full() {
		frame, err := m.Append([]byte("before"), 0xabcdef01)
		if err != nil {
			t.Fatal(err)
		}
		id, _, body, err := Header(bytes.TrimPrefix(frame, []byte("before")))
		if err != nil || id != 0xabcdef01 {
			t.Fatalf("%T: id %x, %v", m, id, err)
		}
		if err := got[i].Parse(body); err != nil || !reflect.DeepEqual(got[i], m) {
			t.Errorf("%T: %+v came back as %+v, %v", m, m, got[i], err)
		}
		for n := range body {
			if err := empty()[i].Parse(body[:n]); err == nil {
				t.Errorf("%T: %d of %d bytes are taken", m, n, len(body))
			}
		}
		if err := empty()[i].Parse(append(bytes.Clone(body), 0)); err == nil {
			t.Errorf("%T: a byte more is taken", m)
		}
	}
	if id, kind, body, err := Header(AppendHello(nil)); id != 0 || Status(kind) != Hello || len(body) != 0 || err != nil {
		t.Error("hello:", id, kind, body, err)
	}
	if id, kind, body, err := Header(AppendOK(nil, 3)); id != 3 || Status(kind) != OK || ParseOK(body) != nil || err != nil {
		t.Error("OK:", id, kind, body, err)
	}
	if ParseOK([]byte{0}) == nil {
		t.Error("an OK with a body is taken")
	}
}

func TestTooLong(t *testing.T) {
	long := make([]byte, 5000)
	many := make(attributes, 65)
	sig := signature(long)
	for _, m := range []message{
		&Open{Module: string(long), Sessions: 1}, &Open{}, &Open{Sessions: MaxSessions + 1},
		&Login{PIN: long}, &Login{}, &Login{Pad: true, PIN: []byte("1")}, &Open{Sessions: 1, Token: Selector{Label: string(long)}}, &Open{Sessions: 1, Token: Selector{Serial: string(long)}},
		&Probe{Module: string(long)}, &Find{ID: long}, &Find{Label: long}, &Find{Public: long}, &Sign{Input: long},
		&Generate{ID: long}, &Generate{Label: long}, &Generate{Algorithm: string(long)},
		&Token{Label: string(long)}, &Token{Sessions: -1}, &Key{ID: long}, &Key{Public: long}, &sig, &many,
	} {
		if frame, err := m.Append(nil, 1); err == nil || frame != nil {
			t.Errorf("%.40v was written", fmt.Sprintf("%T %+v", m, m))
		}
	}
}

// The PIN stands in one place only: the frame that is sent.
func TestPINIsNotLeftBehind(t *testing.T) {
	l := Login{PIN: []byte("81549300")}
	buffer := make([]byte, 0, 12) // too small for all of it
	frame, err := l.Append(buffer, 1)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.ContainsAny(buffer[:cap(buffer)], "81549300") || !bytes.Contains(frame, l.PIN) || len(frame) > cap(frame) {
		t.Error("the PIN is in a buffer that grew")
	}
	var parsed Login
	if err := parsed.Parse(frame[HeaderSize:]); err != nil {
		t.Fatal(err)
	}
	clear(frame)
	if bytes.Contains(parsed.PIN, l.PIN) {
		t.Error("the PIN was copied from the frame")
	}

	// A frame that is not sent because it is none is wiped.
	l.Pad = true
	buffer = make([]byte, 0, MaxFrame)
	if _, err := l.Append(buffer, 1); err == nil || bytes.Contains(buffer[:cap(buffer)], l.PIN) {
		t.Error("the PIN of a request that is none:", err)
	}
}

func TestParseError(t *testing.T) {
	frame := AppendError(nil, 1, fmt.Errorf("wrapped: %w", &Error{Call: "C_Login", Code: 0xa0}))
	_, status, body, _ := Header(frame)
	var e *Error
	if err := ParseError(Status(status), body); !errors.As(err, &e) || e.Code != 0xa0 || e.Call != "C_Login" {
		t.Error(err)
	}
	_, status, body, _ = Header(AppendError(nil, 1, errors.New(strings.Repeat("x", 2000))))
	var tr *Trouble
	if err := ParseError(Status(status), body); !errors.As(err, &tr) || tr.Kind != BadRequest || len(tr.Text) != maxText {
		t.Error(err)
	}
	for _, status := range []Status{0, Hello, OK, 99} {
		if err := ParseError(status, body); err != errMalformed {
			t.Errorf("status %d: %v", status, err)
		}
	}
	for _, kind := range []Kind{0, lastKind + 1} {
		if err := ParseError(Troubled, []byte{byte(kind), 0, 0}); err != errMalformed {
			t.Errorf("trouble %d: %v", kind, err)
		}
	}
}

// What parses is written back as the same bytes, and what does not gives no panic.
func fuzz(f *testing.F, from, to int) {
	for i, m := range full()[from:to] {
		frame, err := m.Append(nil, 1)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(i), frame[HeaderSize:])
	}
	f.Fuzz(func(t *testing.T, which byte, body []byte) {
		m := empty()[from:to][int(which)%(to-from)]
		if m.Parse(body) != nil || len(body) > MaxFrame-HeaderSize {
			return
		}
		frame, err := m.Append(nil, 1)
		if err != nil {
			t.Fatalf("%T was parsed and cannot be written: %v", m, err)
		}
		if !bytes.Equal(frame[HeaderSize:], body) {
			t.Fatalf("%T: % x was written back as % x", m, body, frame[HeaderSize:])
		}
	})
}

func FuzzRequest(f *testing.F) { fuzz(f, 0, 7) }

func FuzzReply(f *testing.F) { fuzz(f, 7, 13) }

func TestErrorNamesTheCode(t *testing.T) {
	for want, e := range map[string]Error{
		"C_Sign: CKR_DEVICE_REMOVED (0x32)":                                {"C_Sign", 0x32},
		"C_Sign: error 0x80000102 of the vendor's own (its manual has it)": {"C_Sign", 0x80000102},
		"C_Sign: error 0x7777 of the token's library":                      {"C_Sign", 0x7777},
		"C_Initialize: CKR_GENERAL_ERROR (0x5): the module cannot start: look for the token directory, the vendor's daemon and its log": {"C_Initialize", 5},
	} {
		if got := e.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
