package drill

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"sync"
	"testing"
	"time"
)

// store is a set of certificates; those with the same content are one.
type store struct {
	id    string
	certs []*x509.Certificate
	pool  *x509.CertPool
}

// stores interns them.
type stores struct {
	mu  sync.Mutex
	all map[string]*store
}

func (s *stores) of(list []*x509.Certificate) *store {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b *x509.Certificate) int { return bytes.Compare(a.Raw, b.Raw) })
	hash := sha256.New()
	for _, c := range list {
		hash.Write(c.Raw)
	}
	id := hex.EncodeToString(hash.Sum(nil)[:6])
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.all[id]; have != nil {
		return have
	}
	made := &store{id: id, certs: list, pool: x509.NewCertPool()}
	for _, c := range list {
		made.pool.AddCert(c)
	}
	if s.all == nil {
		s.all = make(map[string]*store)
	}
	s.all[id] = made
	return made
}

// accepts is the verdict of Go for who trusts a store and is shown a chain.
func (s *store) accepts(chain []*x509.Certificate, at time.Time) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: s.pool, Intermediates: between, CurrentTime: at, DNSName: "localhost", KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err
}

// selfSigned reports whether a certificate is an anchor.
func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignatureFrom(c) == nil
}

func parse(t *testing.T, der []byte) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
