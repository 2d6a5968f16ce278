package awssim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"strings"
	"sync"
	"time"
)

// serverTLS makes the broker's server certificates. A device verifies them
// against the simulated Amazon root, as it would against Amazon Root CA 1.
type serverTLS struct {
	accounts []Account
	now      func() time.Time
	local    string // the region whose endpoint the server name localhost stands for; empty for none
	root     *x509.Certificate
	rootKey  *ecdsa.PrivateKey
	rootPEM  []byte
	key      *ecdsa.PrivateKey

	mu      sync.Mutex
	leafs   map[string]*tls.Certificate // by region, "" for localhost only
	domains map[string]domainPlace      // by lower-case server name
}

// domainPlace is where a server name of a domain configuration belongs.
type domainPlace struct{ account, region, config string }

func newServerTLS(accounts []Account, now func() time.Time) (*serverTLS, error) {
	s := &serverTLS{accounts: accounts, now: now, leafs: map[string]*tls.Certificate{}, domains: map[string]domainPlace{}}
	var err error
	if s.rootKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	if s.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{Organization: []string{"mintmark AWS simulator"}, CommonName: "Simulated Amazon Root CA"},
		NotBefore:             now().Add(-time.Hour),
		NotAfter:              now().AddDate(20, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, s.rootKey.Public(), s.rootKey)
	if err != nil {
		return nil, err
	}
	if s.root, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	s.rootPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	_, err = s.leaf("")
	return s, err
}

// certificate picks the server certificate for a ClientHello: the names of its
// region if the SNI is an endpoint, else localhost.
func (s *serverTLS) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	_, region, _ := s.endpoint(hello.ServerName)
	return s.leaf(region)
}

// endpoint finds the account and region that an SNI names.
func (s *serverTLS) endpoint(sni string) (account, region string, ok bool) {
	s.mu.Lock()
	d, ok := s.domains[strings.ToLower(sni)]
	s.mu.Unlock()
	if ok {
		return d.account, d.region, true
	}
	if s.local != "" && strings.EqualFold(sni, "localhost") {
		return s.accounts[0].ID, s.local, true
	}
	_, rest, found := strings.Cut(strings.ToLower(sni), "-ats.iot.")
	region, amazon := strings.CutSuffix(rest, ".amazonaws.com")
	if !found || !amazon || !regionName.MatchString(region) {
		return "", "", false
	}
	for _, a := range s.accounts {
		if strings.EqualFold(sni, endpointName(a.ID, region)) {
			return a.ID, region, true
		}
	}
	return "", "", false
}

// domainOf returns the name of the domain configuration that a server name was
// made for; false for the endpoint that every account has.
func (s *serverTLS) domainOf(sni string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.domains[strings.ToLower(sni)]
	return d.config, ok
}

// addDomain makes the server certificate of a region name one more endpoint.
func (s *serverTLS) addDomain(sni, account, region, config string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.domains[strings.ToLower(sni)] = domainPlace{account, region, config}
	delete(s.leafs, region)
}

func (s *serverTLS) removeDomain(sni string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.leafs, s.domains[strings.ToLower(sni)].region)
	delete(s.domains, strings.ToLower(sni))
}

func (s *serverTLS) leaf(region string) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.leafs[region]; ok {
		return c, nil
	}
	names := []string{"localhost"}
	if region != "" {
		if len(s.leafs) > maxWorlds {
			s.leafs = map[string]*tls.Certificate{}
		}
		for _, a := range s.accounts {
			names = append(names, endpointName(a.ID, region))
		}
		for name, d := range s.domains {
			if d.region == region {
				names = append(names, name)
			}
		}
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: names[len(names)-1]},
		NotBefore:    s.root.NotBefore,
		NotAfter:     s.root.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     names,
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, s.root, s.key.Public(), s.rootKey)
	if err != nil {
		return nil, err
	}
	cert := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: s.key}
	s.leafs[region] = cert
	return cert, nil
}
