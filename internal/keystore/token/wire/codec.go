package wire

import (
	"encoding/binary"
	"errors"
)

// MaxFrame is the longest frame, in bytes. Each frame is one packet of a
// SOCK_SEQPACKET socket, so that it needs no length of its own.
const MaxFrame = 32 << 10

// MaxSessions is how many sessions Open may ask for.
const MaxSessions = 1024

// The longest that may stand in a message, in bytes.
const (
	maxPath   = 4096
	maxName   = 256
	maxPIN    = 4096
	maxObject = 1024 // CKA_ID, CKA_LABEL
	maxPublic = 4096
	maxInput  = 1024 // to sign; RSA-8192 takes less
	maxText   = 1024
	maxSig    = 2048
	maxAttrs  = 64
)

var (
	errMalformed = errors.New("the frame is malformed")
	errTooLong   = errors.New("a message to the token's process has a field that is too long")
)

// encoder appends the fields of a message to b. The first field that is too long
// makes it fail.
type encoder struct {
	b   []byte
	bad bool
}

func (e *encoder) byte(v byte) { e.b = append(e.b, v) }

func (e *encoder) bool(v bool) {
	if v {
		e.byte(1)
	} else {
		e.byte(0)
	}
}

func (e *encoder) uint32(v uint32) { e.b = binary.BigEndian.AppendUint32(e.b, v) }

func (e *encoder) uint(v uint) { e.b = binary.BigEndian.AppendUint64(e.b, uint64(v)) }

func (e *encoder) bytes(v []byte, most int) {
	if len(v) > most {
		e.bad = true
		return
	}
	e.b = binary.BigEndian.AppendUint16(e.b, uint16(len(v)))
	e.b = append(e.b, v...)
}

func (e *encoder) string(v string, most int) {
	if len(v) > most {
		e.bad = true
		return
	}
	e.b = binary.BigEndian.AppendUint16(e.b, uint16(len(v)))
	e.b = append(e.b, v...)
}

func (e *encoder) selector(s *Selector) {
	e.string(s.Label, maxName)
	e.string(s.Serial, maxName)
	e.bool(s.Slot != nil)
	if s.Slot != nil {
		e.uint(*s.Slot)
	}
}

func (e *encoder) done() ([]byte, error) {
	if e.bad || len(e.b) > MaxFrame {
		clear(e.b[:cap(e.b)])
		return nil, errTooLong
	}
	return e.b, nil
}

// decoder takes the fields of a message off b. After the first that is malformed
// all are zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.b) {
		d.bad = true
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

// bool takes 0 or 1, so that there is one way to write a message.
func (d *decoder) bool() bool {
	v := d.byte()
	d.bad = d.bad || v > 1
	return v == 1
}

func (d *decoder) uint32() uint32 {
	if v := d.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (d *decoder) uint() uint {
	v := d.take(8)
	if v == nil {
		return 0
	}
	n := binary.BigEndian.Uint64(v)
	if uint64(uint(n)) != n {
		d.bad = true
		return 0
	}
	return uint(n)
}

// bytes returns a part of the frame, not a copy: what is secret in it is wiped with
// the frame.
func (d *decoder) bytes(most int) []byte {
	v := d.take(2)
	if v == nil {
		return nil
	}
	n := int(binary.BigEndian.Uint16(v))
	if n > most {
		d.bad = true
		return nil
	}
	if n == 0 {
		return nil
	}
	return d.take(n)
}

func (d *decoder) string(most int) string { return string(d.bytes(most)) }

func (d *decoder) selector() Selector {
	s := Selector{Label: d.string(maxName), Serial: d.string(maxName)}
	if d.bool() {
		n := d.uint()
		s.Slot = &n
	}
	return s
}

func (d *decoder) done() error {
	if d.bad || len(d.b) != 0 {
		return errMalformed
	}
	return nil
}
