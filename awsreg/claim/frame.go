package claim

import (
	"errors"
	"net"
	"sync"
)

// maxPacket is the largest MQTT packet that is read: a message of AWS IoT has at most
// 128 KiB (AWS General Reference, message broker limits), and its header.
const maxPacket = 132 << 10

var errPacketTooLarge = errors.New("the server announced an MQTT packet of more than 132 KiB")

// framedConn refuses packets that are too large before the MQTT client, which makes
// room for the length that a packet's header announces, sees them.
type framedConn struct {
	net.Conn
	frame frame

	mu  sync.Mutex
	err error // the first of reading
}

func (c *framedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if bad := c.frame.pass(p[:n]); bad != nil {
		n, err = 0, bad
	}
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.err == nil {
			c.err = err
		}
	}
	return n, err
}

// cause is the error that ended reading. The MQTT client passes on its text only.
func (c *framedConn) cause() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// frame follows a stream of MQTT packets: a byte of type, one to four bytes of
// remaining length, least significant group of seven bits first, the rest (MQTT
// 3.1.1, section 2.2). It is bad for good once a packet is.
type frame struct {
	rest   int  // bytes of the packet's body still to come
	header bool // in a header, after its first byte
	shift  uint
	length int
	bad    bool
}

func (f *frame) pass(p []byte) error {
	for len(p) > 0 && !f.bad {
		if f.rest > 0 {
			n := min(f.rest, len(p))
			f.rest -= n
			p = p[n:]
			continue
		}
		b := p[0]
		p = p[1:]
		if !f.header {
			f.header, f.shift, f.length = true, 0, 0
			continue
		}
		f.length |= int(b&0x7f) << f.shift
		f.shift += 7
		switch {
		case f.length > maxPacket || b >= 0x80 && f.shift > 21:
			f.bad = true
		case b < 0x80:
			f.header, f.rest = false, f.length
		}
	}
	if f.bad {
		return errPacketTooLarge
	}
	return nil
}
