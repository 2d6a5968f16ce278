package dpsreg

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	arm "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/deviceprovisioningservices/armdeviceprovisioningservices"

	"mintmark/dpsreg/rest"
)

// uploaded is a CA certificate at DPS.
type uploaded struct {
	name     string
	etag     string
	verified bool
	// certificate is nil if DPS does not show it, or shows something that Go cannot
	// parse; then sha1 is all that there is to compare.
	certificate *x509.Certificate
	sha1        string // hex, lower case
	expires     time.Time
}

// is reports whether it is this certificate.
func (u uploaded) is(c *x509.Certificate) bool {
	if u.certificate != nil {
		return u.certificate.Equal(c)
	}
	sum := sha1.Sum(c.Raw)
	return u.sha1 == hex.EncodeToString(sum[:])
}

// recognise finds the certificate of ours that an uploaded one is, where DPS shows its
// SHA-1 only: whether it shows more in a list is not documented.
func (r *Registrar) recognise(u *uploaded) {
	if u == nil || u.certificate != nil {
		return
	}
	for _, a := range r.authorities() {
		if u.is(a.Certificate) {
			u.certificate = a.Certificate
			return
		}
	}
}

// print names it for people: by SHA-256, if that is known.
func (u uploaded) print() string {
	if u.certificate != nil {
		return "SHA-256 " + SHA256(u.certificate)
	}
	return "SHA-1 " + or(u.sha1, "unknown")
}

// maxListed bounds the answer to a list of what DPS takes 25 of.
const maxListed = 1000

func (s *session) listCertificates(ctx context.Context) ([]uploaded, error) {
	out, err := s.certificates.List(ctx, s.target.ResourceGroup, s.target.Service, nil)
	if err != nil {
		return nil, fmt.Errorf("listing the certificates: %w", err)
	}
	if len(out.Value) > maxListed {
		return nil, fmt.Errorf("listing the certificates: %d of them", len(out.Value))
	}
	var list []uploaded
	for _, c := range out.Value {
		if c == nil {
			continue
		}
		u, err := readUploaded(*c)
		if err != nil {
			return nil, fmt.Errorf("listing the certificates: %w", err)
		}
		list = append(list, u)
	}
	slices.SortFunc(list, func(a, b uploaded) int { return strings.Compare(a.name, b.name) })
	return list, nil
}

// getCertificate reads one certificate; nil if there is none of that name.
func (s *session) getCertificate(ctx context.Context, name string) (*uploaded, error) {
	out, err := s.certificates.Get(ctx, name, s.target.ResourceGroup, s.target.Service, nil)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading certificate %q: %w", name, err)
	}
	u, err := readUploaded(out.CertificateResponse)
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading certificate %q: %w", name, err)
	case !strings.EqualFold(u.name, name):
		return nil, fmt.Errorf("reading certificate %q: the answer is about %q", name, u.name)
	}
	return &u, nil
}

func readUploaded(c arm.CertificateResponse) (uploaded, error) {
	if c.Name == nil || *c.Name == "" {
		return uploaded{}, errors.New("the answer has a certificate without a name")
	}
	u := uploaded{name: *c.Name, etag: deref(c.Etag)}
	if p := c.Properties; p != nil {
		u.verified = p.IsVerified != nil && *p.IsVerified
		u.sha1 = fold(deref(p.Thumbprint))
		u.certificate = readCertificate(p.Certificate)
		if p.Expiry != nil {
			u.expires = *p.Expiry
		}
		if u.certificate != nil {
			u.expires = u.certificate.NotAfter
		}
	}
	return u, nil
}

// maxCertificate is how much is taken for a certificate.
const maxCertificate = 64 << 10

// readCertificate reads a certificate in one of the forms that the specification
// allows: DER, PEM, or the base64 of either. Nil if it is none.
func readCertificate(data []byte) *x509.Certificate {
	if len(data) == 0 || len(data) > 2*maxCertificate {
		return nil
	}
	for range 2 {
		if block, _ := pem.Decode(data); block != nil && block.Type == "CERTIFICATE" {
			data = block.Bytes
		}
		if c, err := x509.ParseCertificate(data); err == nil {
			return c
		}
		plain, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(data)))
		if err != nil {
			return nil
		}
		data = plain
	}
	return nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// statusOf is the HTTP status of an answer that refuses, of the resource manager, of DPS
// or of a hub; 0 if the error is none.
func statusOf(err error) int {
	var refused *rest.Error
	if errors.As(err, &refused) {
		return refused.Status
	}
	return 0
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
