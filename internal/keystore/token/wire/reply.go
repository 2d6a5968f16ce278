package wire

import "errors"

// Status is what kind of reply it is.
type Status byte

// The replies.
const (
	Hello    Status = iota + 1 // of no request: the process is there
	OK                         // the body is what the request asked for
	Refused                    // the body is an Error
	Troubled                   // the body is a Trouble
)

// AppendHello appends the first frame that the process sends.
func AppendHello(b []byte) []byte {
	e := begin(b, 0, byte(Hello))
	return e.b
}

// AppendError appends the reply that a request failed with err.
func AppendError(b []byte, id uint32, err error) []byte {
	if e := (*Error)(nil); errors.As(err, &e) {
		w := begin(b, id, byte(Refused))
		w.string(cut(e.Call, maxName), maxName)
		w.uint(e.Code)
		return w.b
	}
	t := (*Trouble)(nil)
	if !errors.As(err, &t) {
		t = &Trouble{Kind: BadRequest, Text: err.Error()}
	}
	w := begin(b, id, byte(Troubled))
	w.byte(byte(t.Kind))
	w.string(cut(t.Text, maxText), maxText)
	return w.b
}

func cut(s string, most int) string { return s[:min(len(s), most)] }

// ParseError returns what a reply of a status other than OK says: an *Error or a
// *Trouble, or that it is malformed.
func ParseError(status Status, body []byte) error {
	d := decoder{b: body}
	switch status {
	case Refused:
		e := &Error{Call: d.string(maxName), Code: d.uint()}
		if err := d.done(); err != nil {
			return err
		}
		return e
	case Troubled:
		t := &Trouble{Kind: Kind(d.byte()), Text: d.string(maxText)}
		if err := d.done(); err != nil {
			return err
		}
		if t.Kind < NoModule || t.Kind > lastKind {
			return errMalformed
		}
		return t
	}
	return errMalformed
}

// AppendOK appends the reply that a request was done that asks for nothing.
func AppendOK(b []byte, id uint32) []byte {
	e := begin(b, id, byte(OK))
	return e.b
}

// ParseOK reads the body of such a reply.
func ParseOK(body []byte) error {
	d := decoder{b: body}
	return d.done()
}

// Append appends the reply to Open and Probe.
func (t *Token) Append(b []byte, id uint32) ([]byte, error) {
	e := begin(b, id, byte(OK))
	for _, s := range []string{t.Label, t.Serial, t.Manufacturer, t.Model, t.Library, t.LibraryVersion, t.Cryptoki} {
		e.string(s, maxName)
	}
	e.uint(t.Slot)
	e.uint(t.Flags)
	e.bad = e.bad || t.Sessions < 0 || t.Sessions > MaxSessions
	e.uint32(uint32(t.Sessions))
	return e.done()
}

// Parse reads the body of the reply.
func (t *Token) Parse(body []byte) error {
	d := decoder{b: body}
	for _, s := range []*string{&t.Label, &t.Serial, &t.Manufacturer, &t.Model, &t.Library, &t.LibraryVersion, &t.Cryptoki} {
		*s = d.string(maxName)
	}
	t.Slot = d.uint()
	t.Flags = d.uint()
	n := d.uint32()
	d.bad = d.bad || n > MaxSessions
	t.Sessions = int(n)
	return d.done()
}

// Append appends the reply to Find and Generate.
func (k *Key) Append(b []byte, id uint32) ([]byte, error) {
	e := begin(b, id, byte(OK))
	e.uint32(k.Handle)
	e.bytes(k.ID, maxObject)
	e.bytes(k.Label, maxObject)
	e.bytes(k.Public, maxPublic)
	e.bool(k.Modifiable)
	return e.done()
}

// Parse reads the body of the reply; the fields are parts of it.
func (k *Key) Parse(body []byte) error {
	d := decoder{b: body}
	k.Handle = d.uint32()
	k.ID = d.bytes(maxObject)
	k.Label = d.bytes(maxObject)
	k.Public = d.bytes(maxPublic)
	k.Modifiable = d.bool()
	return d.done()
}

// AppendSignature appends the reply to Sign.
func AppendSignature(b []byte, id uint32, signature []byte) ([]byte, error) {
	e := begin(b, id, byte(OK))
	e.bytes(signature, maxSig)
	return e.done()
}

// ParseSignature reads the body of the reply; the signature is a part of it.
func ParseSignature(body []byte) ([]byte, error) {
	d := decoder{b: body}
	s := d.bytes(maxSig)
	return s, d.done()
}

// AppendAttributes appends the reply to OpAttributes.
func AppendAttributes(b []byte, id uint32, attributes []Attribute) ([]byte, error) {
	e := begin(b, id, byte(OK))
	e.bad = len(attributes) > maxAttrs
	e.uint32(uint32(len(attributes)))
	for _, a := range attributes {
		e.string(a.Name, maxName)
		e.bool(a.Value)
		e.bool(a.Known)
	}
	return e.done()
}

// ParseAttributes reads the body of the reply.
func ParseAttributes(body []byte) ([]Attribute, error) {
	d := decoder{b: body}
	n := d.uint32()
	if n > maxAttrs {
		return nil, errMalformed
	}
	attributes := make([]Attribute, 0, n)
	for range n {
		attributes = append(attributes, Attribute{Name: d.string(maxName), Value: d.bool(), Known: d.bool()})
	}
	if err := d.done(); err != nil {
		return nil, err
	}
	return attributes, nil
}
