package doctor

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// helloSpec is a ClientHello of TLS 1.0 to 1.2 that no library would send.
type helloSpec struct {
	version       uint16 // TLS 1.2 if zero
	suites        []uint16
	serverName    string // sent as it is, even if it is an address
	renegotiation bool   // with an empty renegotiation_info (RFC 5746)
}

// hello is what a server answers to a ClientHello.
type hello struct {
	version    uint16
	suite      uint16
	extensions map[uint16][]byte
	alert      string // in place of the rest
}

const (
	extServerName    = 0
	extGroups        = 10
	extPointFormats  = 11
	extSignatures    = 13
	extRenegotiation = 0xff01
)

// encode builds the record: RFC 5246, Section 7.4.1.2.
func (s helloSpec) encode() []byte {
	var b []byte
	if s.version == 0 {
		s.version = tls.VersionTLS12
	}
	b = binary.BigEndian.AppendUint16(b, s.version)
	random := make([]byte, 32)
	rand.Read(random)
	b = append(b, random...)
	b = append(b, 0) // no session
	b = binary.BigEndian.AppendUint16(b, uint16(2*len(s.suites)))
	for _, suite := range s.suites {
		b = binary.BigEndian.AppendUint16(b, suite)
	}
	b = append(b, 1, 0) // no compression

	var extensions []byte
	add := func(kind uint16, content []byte) {
		extensions = binary.BigEndian.AppendUint16(extensions, kind)
		extensions = append(extensions, vector(content)...)
	}
	if s.serverName != "" {
		add(extServerName, vector(append([]byte{0}, vector([]byte(s.serverName))...)))
	}
	add(extGroups, vector([]byte{0, 29, 0, 23, 0, 24}))
	add(extPointFormats, []byte{1, 0})
	add(extSignatures, vector([]byte{4, 3, 5, 3, 6, 3, 8, 4, 8, 5, 8, 6, 4, 1, 5, 1, 6, 1, 2, 1, 2, 3}))
	if s.renegotiation {
		add(extRenegotiation, []byte{0})
	}
	b = append(b, vector(extensions)...)

	message := append([]byte{1, 0, byte(len(b) >> 8), byte(len(b))}, b...)
	return append([]byte{recordHandshake, 3, 1}, vector(message)...)
}

// vector puts a length of two bytes before content.
func vector(content []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(content))), content...)
}

// greet sends a ClientHello and reads the ServerHello or what came in its place.
func (p *probe) greet(ctx context.Context, s helloSpec) (*hello, error) {
	raw, stop, err := p.open(ctx, p.address)
	if err != nil {
		return nil, err
	}
	defer stop()
	defer raw.Close()
	if _, err := raw.Write(s.encode()); err != nil {
		return nil, err
	}
	return readHello(raw)
}

// readHello reads handshake records up to the end of the ServerHello.
func readHello(r io.Reader) (*hello, error) {
	var message []byte
	for {
		var head [5]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return &hello{alert: "end of the connection"}, nil
		}
		body := make([]byte, binary.BigEndian.Uint16(head[3:]))
		if _, err := io.ReadFull(r, body); err != nil {
			return &hello{alert: "end of the connection"}, nil
		}
		switch head[0] {
		case recordAlert:
			if len(body) < 2 {
				return nil, errors.New("an alert that is cut off")
			}
			return &hello{alert: fmt.Sprintf("alert %d", body[1])}, nil
		case recordHandshake:
			message = append(message, body...)
		default:
			return nil, fmt.Errorf("the server does not answer in TLS: a record of type %d", head[0])
		}
		if len(message) > 1<<16 {
			return nil, errors.New("a ServerHello without end")
		}
		if len(message) < 4 {
			continue
		}
		size := int(message[1])<<16 | int(message[2])<<8 | int(message[3])
		if message[0] != 2 || size > 1<<16 {
			return nil, fmt.Errorf("handshake message %d in place of a ServerHello", message[0])
		}
		if len(message) >= 4+size {
			return parseHello(message[4 : 4+size])
		}
	}
}

var errHello = errors.New("the ServerHello cannot be read")

// parseHello reads a ServerHello: RFC 5246, Section 7.4.1.3.
func parseHello(b []byte) (*hello, error) {
	if len(b) < 35 || len(b) < 35+int(b[34])+3 {
		return nil, errHello
	}
	h := &hello{version: binary.BigEndian.Uint16(b), extensions: make(map[uint16][]byte)}
	b = b[35+int(b[34]):]
	h.suite = binary.BigEndian.Uint16(b)
	b = b[3:]
	if len(b) == 0 {
		return h, nil
	}
	if len(b) < 2 || int(binary.BigEndian.Uint16(b)) != len(b)-2 {
		return nil, errHello
	}
	for b = b[2:]; len(b) > 0; {
		if len(b) < 4 || len(b) < 4+int(binary.BigEndian.Uint16(b[2:])) {
			return nil, errHello
		}
		size := int(binary.BigEndian.Uint16(b[2:]))
		h.extensions[binary.BigEndian.Uint16(b)] = b[4 : 4+size]
		b = b[4+size:]
	}
	return h, nil
}

// soundSuites are suites of TLS 1.2 that any sound server has one of.
var soundSuites = []uint16{0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc023, 0xc027, 0xc009, 0xc013, 0xc00a, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035, 0xc0ac, 0xc0ae}

// weakSuites are those without encryption, without authentication, of export
// strength and with single DES or RC4: RFC 7030, Section 3.2.3, 4.4 and 6.
var weakSuites = map[uint16]string{
	0x0000: "NULL_WITH_NULL_NULL", 0x0001: "RSA_WITH_NULL_MD5", 0x0002: "RSA_WITH_NULL_SHA", 0x003b: "RSA_WITH_NULL_SHA256",
	0xc001: "ECDH_ECDSA_WITH_NULL_SHA", 0xc006: "ECDHE_ECDSA_WITH_NULL_SHA", 0xc00b: "ECDH_RSA_WITH_NULL_SHA", 0xc010: "ECDHE_RSA_WITH_NULL_SHA",
	0x0017: "DH_anon_EXPORT_WITH_RC4_40_MD5", 0x0018: "DH_anon_WITH_RC4_128_MD5", 0x0019: "DH_anon_EXPORT_WITH_DES40_CBC_SHA",
	0x001a: "DH_anon_WITH_DES_CBC_SHA", 0x001b: "DH_anon_WITH_3DES_EDE_CBC_SHA", 0x0034: "DH_anon_WITH_AES_128_CBC_SHA", 0x003a: "DH_anon_WITH_AES_256_CBC_SHA",
	0x006c: "DH_anon_WITH_AES_128_CBC_SHA256", 0x006d: "DH_anon_WITH_AES_256_CBC_SHA256", 0x00a6: "DH_anon_WITH_AES_128_GCM_SHA256", 0x00a7: "DH_anon_WITH_AES_256_GCM_SHA384",
	0xc015: "ECDH_anon_WITH_NULL_SHA", 0xc016: "ECDH_anon_WITH_RC4_128_SHA", 0xc017: "ECDH_anon_WITH_3DES_EDE_CBC_SHA", 0xc018: "ECDH_anon_WITH_AES_128_CBC_SHA", 0xc019: "ECDH_anon_WITH_AES_256_CBC_SHA",
	0x0003: "RSA_EXPORT_WITH_RC4_40_MD5", 0x0006: "RSA_EXPORT_WITH_RC2_CBC_40_MD5", 0x0008: "RSA_EXPORT_WITH_DES40_CBC_SHA",
	0x0011: "DHE_DSS_EXPORT_WITH_DES40_CBC_SHA", 0x0014: "DHE_RSA_EXPORT_WITH_DES40_CBC_SHA",
	0x0009: "RSA_WITH_DES_CBC_SHA", 0x0012: "DHE_DSS_WITH_DES_CBC_SHA", 0x0015: "DHE_RSA_WITH_DES_CBC_SHA",
	0x0004: "RSA_WITH_RC4_128_MD5", 0x0005: "RSA_WITH_RC4_128_SHA", 0xc007: "ECDHE_ECDSA_WITH_RC4_128_SHA", 0xc011: "ECDHE_RSA_WITH_RC4_128_SHA",
}

func suiteName(suite uint16) string {
	if name := weakSuites[suite]; name != "" {
		return "TLS_" + name
	}
	return fmt.Sprintf("%#04x", suite)
}

// chose reports whether a ServerHello chose what was offered.
func (h *hello) chose(offered []uint16) bool {
	for _, suite := range offered {
		if h.alert == "" && suite == h.suite {
			return true
		}
	}
	return false
}

func (h *hello) String() string {
	if h.alert != "" {
		return h.alert
	}
	var b strings.Builder
	fmt.Fprintf(&b, "a ServerHello of version %#04x with %s", h.version, suiteName(h.suite))
	return b.String()
}
