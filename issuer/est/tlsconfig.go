package est

import (
	"crypto/tls"
	"net/netip"

	"mintmark/issuer"
)

// TLSConfig is the server side of TLS as EST clients in the field need it.
// getCertificate must have a default certificate for clients that send no
// server name.
func TLSConfig(getCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		// RFC 8996 over RFC 7030, Section 3.3. TLS 1.2 stays: libest and
		// strongSwan offer no 1.3 unless told to. The default cipher suites
		// hold no NULL, anonymous, export or DES suite (Section 3.2.3).
		MinVersion: tls.VersionTLS12,

		// RFC 7030, Section 3.3.2: a client certificate is optional. It is not
		// verified here but in HTTP, where an expired or revoked certificate
		// gets an answer in words instead of an alert, where the label says
		// which CAs count, and where a certificate that came without its
		// intermediates can be verified with ours. Without names of CAs in the
		// request, clients send what they have.
		ClientAuth: tls.RequestClientCert,
		// But one that no honest client has goes no further.
		VerifyConnection: issuer.CheckPresented,

		// strongSwan loses answers whose first records are small.
		DynamicRecordSizingDisabled: true,

		NextProtos: []string{"h2", "http/1.1"},

		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			// RFC 6066, Section 3 forbids addresses as server names; libest
			// sends them all the same and wants the default certificate.
			if _, err := netip.ParseAddr(hello.ServerName); err == nil {
				nameless := *hello
				nameless.ServerName = ""
				hello = &nameless
			}
			certificate, err := getCertificate(hello)
			if err == nil {
				showing(hello, certificate)
			}
			return certificate, err
		},
	}
}
