package dpssim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
)

// The names of Azure that are the same for everyone.
const (
	loginHost      = "login.microsoftonline.com"
	managementHost = "management.azure.com"
	globalHost     = "global.azure-devices-provisioning.net"
	dpsDomain      = ".azure-devices-provisioning.net"
)

// serviceHost is where the data plane of the simulated service is.
func (c Config) serviceHost() string { return strings.ToLower(c.Service) + dpsDomain }

// hosts lists every name that the simulator answers to, apart from this machine's.
func (c Config) hosts() []string {
	return append([]string{loginHost, managementHost, c.serviceHost(), globalHost}, c.Hubs...)
}

// serverTLS has the server certificates: one for each name, under one root in the
// place of DigiCert Global Root G2 and the others that Azure uses.
type serverTLS struct {
	root  *trustAnchor
	certs map[string]*tls.Certificate // by lower-case server name; "" for this machine
}

func newServerTLS(cfg Config) (*serverTLS, error) {
	root, err := trustAnchorOf(cfg)
	if err != nil {
		return nil, err
	}
	s := &serverTLS{root: root, certs: map[string]*tls.Certificate{}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	for _, host := range append([]string{""}, cfg.hosts()...) {
		serial, err := newSerial()
		if err != nil {
			return nil, err
		}
		leaf := &x509.Certificate{
			SerialNumber: serial,
			NotBefore:    root.cert.NotBefore, NotAfter: root.cert.NotAfter,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			DNSNames: []string{host},
		}
		if host == "" {
			leaf.DNSNames = []string{"localhost"}
			leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
		}
		// A name of more than 64 characters fits no common name (RFC 5280, appendix A).
		leaf.Subject.Organization = []string{"mintmark Azure simulator"}
		der, err := x509.CreateCertificate(rand.Reader, leaf, root.cert, key.Public(), root.key)
		if err != nil {
			return nil, err
		}
		s.certs[host] = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	return s, nil
}

// certificate picks the server certificate by the name that the client sends; one who
// sends no name, or one that nobody has, gets that of this machine and will notice.
func (s *serverTLS) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := s.certs[strings.ToLower(hello.ServerName)]; c != nil {
		return c, nil
	}
	return s.certs[""], nil
}

// config is that of HTTPS: DPS names as deviceConfig, all others TLS 1.2 and 1.3.
func (s *serverTLS) config() *tls.Config {
	device := s.deviceConfig()
	device.NextProtos = []string{"http/1.1"}
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: s.certificate,
		NextProtos:     []string{"http/1.1"},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if strings.HasSuffix(strings.ToLower(hello.ServerName), dpsDomain) {
				return device, nil
			}
			return nil, nil
		},
	}
}

// deviceConfig is TLS as DPS speaks it: version 1.2 only, with the documented cipher
// suites that Go has, of ECDHE with AES-GCM
// (https://learn.microsoft.com/azure/iot-dps/tls-support). A client certificate is
// asked for and not verified: DPS judges the chain itself.
//
// Sessions are not resumed, so that each connection shows its chain.
func (s *serverTLS) deviceConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		MaxVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		},
		GetCertificate:         s.certificate,
		ClientAuth:             tls.RequestClientCert,
		SessionTicketsDisabled: true,
	}
}
