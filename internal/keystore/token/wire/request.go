package wire

// Op is what a request asks for.
type Op byte

// The requests.
const (
	OpOpen       Op = iota + 1 // Open; the reply is a Token
	OpLogin                    // Login; nothing
	OpProbe                    // Probe; a Token
	OpFind                     // Find; a Key
	OpSign                     // Sign; the signature
	OpGenerate                 // Generate; a Key
	OpAttributes               // a handle; attributes
	OpDestroy                  // a handle; nothing
)

// HeaderSize is the length of what is before the body of a frame: the id of the
// request (4 bytes), which its reply repeats, and an Op or a Status.
const HeaderSize = 5

// Header takes a frame apart. The body is a part of the frame.
func Header(frame []byte) (id uint32, kind byte, body []byte, err error) {
	d := decoder{b: frame}
	id, kind = d.uint32(), d.byte()
	if d.bad || len(frame) > MaxFrame {
		return 0, 0, nil, errMalformed
	}
	return id, kind, d.b, nil
}

func begin(b []byte, id uint32, kind byte) encoder {
	e := encoder{b: b}
	e.uint32(id)
	e.byte(kind)
	return e
}

// Append appends the request to b. It fails if a field is too long.
func (o *Open) Append(b []byte, id uint32) ([]byte, error) {
	e := begin(b, id, byte(OpOpen))
	e.string(o.Module, maxPath)
	e.selector(&o.Token)
	e.bad = e.bad || o.Sessions < 1 || o.Sessions > MaxSessions
	e.uint32(uint32(o.Sessions))
	return e.done()
}

// Parse reads the body of the request.
func (o *Open) Parse(body []byte) error {
	d := decoder{b: body}
	o.Module = d.string(maxPath)
	o.Token = d.selector()
	n := d.uint32()
	d.bad = d.bad || n < 1 || n > MaxSessions
	o.Sessions = int(n)
	return d.done()
}

// Append appends the request to b. It fails if the PIN is too long, or not what Pad says.
func (l *Login) Append(b []byte, id uint32) ([]byte, error) {
	// A buffer that grew would leave the PIN behind.
	if n := HeaderSize + len(l.PIN) + 8; cap(b)-len(b) < n {
		b = append(make([]byte, 0, len(b)+n), b...)
	}
	e := begin(b, id, byte(OpLogin))
	e.bool(l.Pad)
	e.bytes(l.PIN, maxPIN)
	e.bad = e.bad || l.Pad == (len(l.PIN) > 0)
	return e.done()
}

// Parse reads the body of the request; PIN is a part of it.
func (l *Login) Parse(body []byte) error {
	d := decoder{b: body}
	l.Pad = d.bool()
	l.PIN = d.bytes(maxPIN)
	d.bad = d.bad || l.Pad == (len(l.PIN) > 0)
	return d.done()
}

// Append appends the request to b. It fails if a field is too long.
func (p *Probe) Append(b []byte, id uint32) ([]byte, error) {
	e := begin(b, id, byte(OpProbe))
	e.string(p.Module, maxPath)
	e.selector(&p.Token)
	return e.done()
}

// Parse reads the body of the request.
func (p *Probe) Parse(body []byte) error {
	d := decoder{b: body}
	p.Module = d.string(maxPath)
	p.Token = d.selector()
	return d.done()
}

// Append appends the request to b. It fails if a field is too long.
func (f *Find) Append(b []byte, id uint32) ([]byte, error) {
	e := begin(b, id, byte(OpFind))
	e.bytes(f.ID, maxObject)
	e.bytes(f.Label, maxObject)
	e.bytes(f.Public, maxPublic)
	return e.done()
}

// Parse reads the body of the request; the fields are parts of it.
func (f *Find) Parse(body []byte) error {
	d := decoder{b: body}
	f.ID = d.bytes(maxObject)
	f.Label = d.bytes(maxObject)
	f.Public = d.bytes(maxPublic)
	return d.done()
}

// Append appends the request to b. It fails if the input is too long.
func (s *Sign) Append(b []byte, id uint32) ([]byte, error) {
	e := begin(b, id, byte(OpSign))
	e.uint32(s.Handle)
	e.byte(byte(s.Mechanism))
	e.bytes(s.Input, maxInput)
	return e.done()
}

// Parse reads the body of the request; Input is a part of it.
func (s *Sign) Parse(body []byte) error {
	d := decoder{b: body}
	s.Handle = d.uint32()
	s.Mechanism = Mechanism(d.byte())
	s.Input = d.bytes(maxInput)
	return d.done()
}

// Append appends the request to b. It fails if a field is too long.
func (g *Generate) Append(b []byte, id uint32) ([]byte, error) {
	e := begin(b, id, byte(OpGenerate))
	e.bytes(g.ID, maxObject)
	e.bytes(g.Label, maxObject)
	e.string(g.Algorithm, maxName)
	return e.done()
}

// Parse reads the body of the request; ID and Label are parts of it.
func (g *Generate) Parse(body []byte) error {
	d := decoder{b: body}
	g.ID = d.bytes(maxObject)
	g.Label = d.bytes(maxObject)
	g.Algorithm = d.string(maxName)
	return d.done()
}

// AppendHandle appends a request that is a handle and nothing else.
func AppendHandle(b []byte, id uint32, op Op, handle uint32) []byte {
	e := begin(b, id, byte(op))
	e.uint32(handle)
	return e.b
}

// ParseHandle reads the body of such a request.
func ParseHandle(body []byte) (uint32, error) {
	d := decoder{b: body}
	h := d.uint32()
	return h, d.done()
}
