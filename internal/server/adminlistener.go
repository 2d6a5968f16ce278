package server

import (
	"crypto/tls"

	"mintmark/issuer"
)

// adminTLS is the server side of TLS for principals: the server's own
// certificate, and a client certificate from everyone. Which ones count is
// decided for each request, where a refusal has words and an earlier handshake
// counts for nothing.
func adminTLS(getCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS12,
		ClientAuth:       tls.RequireAnyClientCert,
		VerifyConnection: issuer.CheckPresented,
		NextProtos:       []string{"h2", "http/1.1"},
		GetCertificate:   getCertificate,
	}
}
