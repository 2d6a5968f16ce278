package est

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"mintmark/internal/ledger"
)

// ErrRevokedByMaker says that a maker has revoked a certificate, or one above
// it; see Maker.Revoked.
var ErrRevokedByMaker = errors.New("certificate is revoked by its maker")

// makerAttributes are the subject attributes that Maker.Subject knows.
var makerAttributes = map[string]asn1.ObjectIdentifier{
	"commonName":         {2, 5, 4, 3},
	"serialNumber":       {2, 5, 4, 5},
	"country":            {2, 5, 4, 6},
	"locality":           {2, 5, 4, 7},
	"stateOrProvince":    {2, 5, 4, 8},
	"organization":       {2, 5, 4, 10},
	"organizationalUnit": {2, 5, 4, 11},
	"dnQualifier":        {2, 5, 4, 46},
}

// makerPattern is one entry of Maker.Subject, for the whole value.
type makerPattern struct {
	name    string
	pattern *regexp.Regexp
}

// newMakerPatterns checks a maker's configuration.
func newMakerPatterns(m *Maker) ([]makerPattern, error) {
	if m == nil {
		return nil, nil
	}
	if m.Roots == nil {
		return nil, errors.New("maker without roots")
	}
	if m.Device != "commonName" && m.Device != "serialNumber" {
		return nil, fmt.Errorf("maker device %q is neither commonName nor serialNumber", m.Device)
	}
	var list []makerPattern
	for _, name := range slices.Sorted(maps.Keys(m.Subject)) {
		if makerAttributes[name] == nil {
			return nil, fmt.Errorf("maker subject %q is none of %s", name, strings.Join(slices.Sorted(maps.Keys(makerAttributes)), ", "))
		}
		if m.Subject[name] == nil {
			return nil, fmt.Errorf("maker subject %s has no pattern", name)
		}
		whole, err := regexp.Compile(`\A(?:` + m.Subject[name].String() + `)\z`)
		if err != nil {
			return nil, fmt.Errorf("maker subject %s: %w", name, err)
		}
		list = append(list, makerPattern{name, whole})
	}
	return list, nil
}

// byMaker authenticates by a certificate of a device maker.
func (h *Handler) byMaker(x *exchange) (identity, error) {
	if x.label.Maker == nil {
		return identity{}, reject(ruleForeign, "the TLS client certificate is not one of ours")
	}
	intermediates := x509.NewCertPool()
	for _, c := range x.r.TLS.PeerCertificates[1:] {
		intermediates.AddCert(c)
	}
	now := h.now()
	paths, err := x.client.Verify(x509.VerifyOptions{
		Roots:         x.label.Maker.Roots,
		Intermediates: intermediates,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err == nil && x.client.IsCA {
		// The key of a maker's CA makes devices and is none.
		err = errors.New("it is the certificate of a CA")
	}
	if err == nil && x.client.KeyUsage != 0 && x.client.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		// RFC 5280, Section 4.2.1.3; IEEE 802.1AR, Section 8.10.
		err = errors.New("its key usage is not digitalSignature")
	}
	if err != nil {
		f := fail(http.StatusForbidden, ruleMaker, "the TLS client certificate is neither one of ours nor a valid one of a maker that this label trusts")
		f.err = err
		return identity{}, &unacceptable{f}
	}
	device, ok := attribute(x.client, makerAttributes[x.label.Maker.Device])
	if !ok {
		return identity{}, reject(ruleMakerDevice, "the subject of the maker's certificate must hold exactly one %s", x.label.Maker.Device)
	}
	x.device = device
	for _, p := range x.label.patterns {
		value, ok := attribute(x.client, makerAttributes[p.name])
		if !ok || !p.pattern.MatchString(value) {
			return identity{}, reject(ruleMakerSubject, "the subject of the maker's certificate must hold exactly one %s, and one that this label takes", p.name)
		}
	}
	if err := h.standing(x, paths); err != nil {
		return identity{}, err
	}
	return identity{
		requester: ledger.Requester{Kind: "maker", Name: serial(x.client), Address: x.peer},
		device:    device,
	}, nil
}

// standing asks the maker's CRLs about each path. One good path is enough: RFC
// 5280, Section 6.1. Without one, a certificate that may be good on a path of
// unknown standing is refused for the time being only.
func (h *Handler) standing(x *exchange, paths [][]*x509.Certificate) error {
	if x.label.Maker.Revoked == nil {
		return nil
	}
	var revoked, unknown error
	for _, path := range paths {
		switch err := x.label.Maker.Revoked(path, h.now()); {
		case err == nil:
			return nil
		case errors.Is(err, ErrRevokedByMaker):
			revoked = err
		default:
			unknown = err
		}
	}
	f := fail(http.StatusForbidden, ruleMakerRevoked, "the maker has revoked the TLS client certificate")
	f.err = revoked
	if unknown != nil || revoked == nil {
		f = fail(http.StatusServiceUnavailable, ruleMakerStanding, "whether the maker has revoked the TLS client certificate is not known at the moment")
		f.err = unknown
	}
	return &unacceptable{f}
}

// attribute returns the only value of a subject attribute.
func attribute(c *x509.Certificate, id asn1.ObjectIdentifier) (string, bool) {
	var values []string
	for _, a := range c.Subject.Names {
		if a.Type.Equal(id) {
			v, _ := a.Value.(string)
			values = append(values, v)
		}
	}
	if len(values) != 1 || values[0] == "" {
		return "", false
	}
	return values[0], true
}
