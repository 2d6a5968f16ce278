package issuer

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
)

// Bounds on what a stranger has encoded. What crypto/x509 does with a name in
// text takes the square of its attributes, and a handshake takes certificates of
// megabytes.
const (
	// MaxCertificate is the most that a client certificate may measure, in bytes
	// of DER.
	MaxCertificate = 16 << 10

	maxName       = 2048 // bytes of DER
	maxAttributes = 64   // of a name
	maxExtensions = 64   // of a certification request
)

// NameText is the text of a name that a stranger may have encoded, for log and
// record: RFC 4514, unless raw, its DER, is longer than any honest one.
func NameText(name pkix.Name, raw []byte) string {
	if len(raw) > maxName || len(name.Names) > maxAttributes {
		return fmt.Sprintf("(a name of %d bytes)", len(raw))
	}
	return name.String()
}

// CheckPresented is for tls.Config.VerifyConnection where client certificates
// are not verified in the handshake: it ends one whose certificates are larger
// than any honest one.
func CheckPresented(state tls.ConnectionState) error {
	for _, c := range state.PeerCertificates {
		if len(c.Raw) > MaxCertificate {
			return fmt.Errorf("a client certificate of %d bytes; %d are allowed", len(c.Raw), MaxCertificate)
		}
	}
	return nil
}

// checkSize refuses a request of more names and extensions than an honest one
// has.
func checkSize(csr *x509.CertificateRequest) error {
	switch {
	case len(csr.RawSubject) > maxName:
		return refuse(Malformed, "csr-size", "the subject of the certification request measures %d bytes; %d are allowed", len(csr.RawSubject), maxName)
	case len(csr.Subject.Names) > maxAttributes:
		return refuse(Malformed, "csr-size", "the subject of the certification request has %d attributes; %d are allowed", len(csr.Subject.Names), maxAttributes)
	case len(csr.Extensions) > maxExtensions:
		return refuse(Malformed, "csr-size", "the certification request asks for %d extensions; %d are allowed", len(csr.Extensions), maxExtensions)
	}
	return nil
}
