package est

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"mintmark/internal/ledger"
	"mintmark/issuer"
)

// unacceptable is the refusal of a TLS client certificate that a password may
// stand in for.
type unacceptable struct{ *failure }

func (u *unacceptable) Unwrap() error { return u.failure }

func reject(rule, format string, args ...any) error {
	return &unacceptable{fail(http.StatusForbidden, rule, format, args...)}
}

// byCertificate authenticates by TLS client certificate: RFC 7030, Section
// 3.3.2. The two kinds of trust are kept apart. What is under a CA of ours is
// for the ledger to judge, and no maker's CA is ever asked about it.
func (h *Handler) byCertificate(x *exchange) (identity, error) {
	x.who = ledger.Requester{Kind: "certificate", Name: serial(x.client), Address: x.peer}
	record, err := h.authority.Holder(x.r.Context(), x.client)
	if errors.Is(err, issuer.ErrForeign) {
		x.who.Kind = "maker"
		return h.byMaker(x)
	}
	if err != nil {
		return identity{}, h.notHolder(x, err)
	}
	x.device = record.Device
	now := h.now()
	claim := record.Purpose == ledger.ForClaim
	switch {
	// A record without a device would vouch for any.
	case !claim && (record.Purpose != ledger.ForDevice || record.Device == "" || !slices.Contains(x.label.Own, record.Profile)):
		return identity{}, reject(ruleOwnProfile, "certificates of profile %q do not authenticate here", record.Profile)
	case now.Before(record.NotBefore):
		return identity{}, reject(ruleNotYetValid, "the TLS client certificate %s is valid from %s", record.Serial, record.NotBefore.UTC().Format(time.RFC3339))
	case now.After(record.NotAfter):
		return identity{}, reject(ruleExpired, "the TLS client certificate %s expired at %s: enroll again as for the first time", record.Serial, record.NotAfter.UTC().Format(time.RFC3339))
	}
	if claim {
		return h.byClaim(x, record)
	}
	return identity{
		requester: ledger.Requester{Kind: "certificate", Name: string(record.Serial), Address: x.peer},
		device:    record.Device,
		own:       x.client,
		profile:   record.Profile,
	}, nil
}

// notHolder turns the refusal of a certificate of ours into an answer, and
// raises the alarm if the ledger does not know the certificate at all.
func (h *Handler) notHolder(x *exchange, err error) error {
	var r *issuer.Refusal
	if !errors.As(err, &r) || r.Kind != issuer.Unauthenticated && r.Kind != issuer.Forbidden {
		return err
	}
	// 403 and not 401: no challenge for a password mends a wrong certificate.
	f := fail(http.StatusForbidden, r.Rule, "%s", r.Text)
	f.err = r.Err
	if r.Rule != ruleUnknown {
		return &unacceptable{f}
	}
	sum := sha256.Sum256(x.client.Raw)
	h.metrics.alarms.WithLabelValues(x.label.Name).Inc()
	h.logger.LogAttrs(x.r.Context(), slog.LevelError,
		"ALARM: a certificate under our own CA that the ledger does not know was presented: the CA key may be compromised",
		slog.String("label", x.label.Name),
		slog.String("peer", x.peer.String()),
		slog.String("serial", serial(x.client)),
		slog.String("subject", x.client.Subject.String()),
		slog.String("issuer", x.client.Issuer.String()),
		slog.String("sha256", hex.EncodeToString(sum[:])))
	return f
}

// makerAttributes are the subject attributes that may identify a device.
var makerAttributes = map[string]asn1.ObjectIdentifier{
	"commonName":   {2, 5, 4, 3},
	"serialNumber": {2, 5, 4, 5},
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
	_, err := x.client.Verify(x509.VerifyOptions{
		Roots:         x.label.Maker.Roots,
		Intermediates: intermediates,
		CurrentTime:   h.now(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		f := fail(http.StatusForbidden, ruleMaker, "the TLS client certificate is neither one of ours nor a valid one of a maker that this label trusts")
		f.err = err
		return identity{}, &unacceptable{f}
	}
	device, ok := attribute(x.client, makerAttributes[x.label.Maker.Device])
	if !ok {
		return identity{}, reject(ruleMakerDevice, "the subject of the maker's certificate must hold exactly one %s", x.label.Maker.Device)
	}
	return identity{
		requester: ledger.Requester{Kind: "maker", Name: serial(x.client), Address: x.peer},
		device:    device,
	}, nil
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

// serial writes a certificate's serial number as everywhere else.
func serial(c *x509.Certificate) string {
	b := c.SerialNumber.Bytes()
	if len(b) == 0 {
		b = []byte{0}
	}
	return hex.EncodeToString(b)
}
