package est

import (
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
	switch record.Purpose {
	case ledger.ForRA:
		x.who.Kind = "ra"
	case ledger.ForClaim:
		x.who.Kind = "claim"
	}
	if err := h.admitted(x, record); err != nil {
		return identity{}, err
	}
	who := identity{requester: x.who}
	if err := h.inForce(x, record); err != nil {
		return identity{}, err
	}
	switch record.Purpose {
	case ledger.ForClaim:
		return h.byClaim(x, record)
	case ledger.ForRA:
		who.ra = true
	default:
		who.device, who.own, who.profile = record.Device, x.client, record.Profile
	}
	return who, nil
}

// oidCMCRA is id-kp-cmcRA of RFC 6402, Section 2.10.
var oidCMCRA = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 28}

// admitted checks that the label takes such certificates at all.
func (h *Handler) admitted(x *exchange, record ledger.Certificate) error {
	switch record.Purpose {
	case ledger.ForClaim:
		return nil // byClaim asks its order
	case ledger.ForRA:
		// RFC 7030, Section 3.7: a registration authority shows that it is one,
		// and the label says which it takes.
		if !slices.Contains(x.label.RAs, record.Profile) {
			return reject(ruleRA, "certificates of profile %q are no registration authority's here", record.Profile)
		}
		if !slices.ContainsFunc(x.client.UnknownExtKeyUsage, oidCMCRA.Equal) {
			return reject(ruleRA, "the TLS client certificate %s lacks the extended key usage id-kp-cmcRA", record.Serial)
		}
		return nil
	case ledger.ForDevice:
		// A record without a device would vouch for any.
		if record.Device != "" && slices.Contains(x.label.Own, record.Profile) {
			return nil
		}
	}
	return reject(ruleOwnProfile, "certificates of profile %q do not authenticate here", record.Profile)
}

// inForce checks the validity of a certificate of ours, and that of the path
// above it (RFC 5280, Section 6.1.3). An expired one may renew itself for as long as
// the label grants it: Renewal.Grace.
func (h *Handler) inForce(x *exchange, record ledger.Certificate) error {
	now := h.now()
	grace := x.label.Renewal.Grace
	if x.op == "serverkeygen" || !x.renews(identity{own: x.client, profile: record.Profile}) || record.Purpose != ledger.ForDevice {
		grace = 0
	}
	switch {
	case now.Before(record.NotBefore):
		return reject(ruleNotYetValid, "the TLS client certificate %s is valid from %s", record.Serial, record.NotBefore.UTC().Format(time.RFC3339))
	case now.After(record.NotAfter.Add(grace)):
		return reject(ruleExpired, "the TLS client certificate %s expired at %s: enroll again as for the first time", record.Serial, record.NotAfter.UTC().Format(time.RFC3339))
	}
	expired := now.After(record.NotAfter)
	if h.authority.Withdrawn(record.Issuer) {
		return reject(ruleIssuer, "the CA that issued the TLS client certificate %s is revoked: enroll again as for the first time", record.Serial)
	}
	// A certificate without an end may outlive its CA, and is then good for as
	// long as it says itself. Grace is ours to give, and ends with the CA.
	for _, c := range h.authority.Anchors(record.Issuer) {
		if expired && (now.Before(c.NotBefore) || now.After(c.NotAfter)) {
			return reject(ruleIssuer, "the TLS client certificate %s expired at %s, and %q above it is not in force: enroll again as for the first time",
				record.Serial, record.NotAfter.UTC().Format(time.RFC3339), c.Subject.String())
		}
	}
	if expired {
		x.note(slog.Bool("grace", true))
	}
	return nil
}

// notHolder turns the refusal of a certificate of ours into an answer.
func (h *Handler) notHolder(x *exchange, err error) error {
	var r *issuer.Refusal
	if !errors.As(err, &r) || r.Kind != issuer.Unauthenticated && r.Kind != issuer.Forbidden {
		return err
	}
	// 403 and not 401: no challenge for a password mends a wrong certificate.
	f := fail(http.StatusForbidden, r.Rule, "%s", r.Text)
	f.err = r.Err
	if r.Rule == ruleUnknown {
		// The issuer has raised the alarm, and no password beside such a
		// certificate counts.
		x.note(slog.String("certificate", serial(x.client)), slog.String("issuer", issuer.NameText(x.client.Issuer, x.client.RawIssuer)))
		return f
	}
	return &unacceptable{f}
}

// serial writes a certificate's serial number as everywhere else.
func serial(c *x509.Certificate) string {
	b := c.SerialNumber.Bytes()
	if len(b) == 0 {
		b = []byte{0}
	}
	return hex.EncodeToString(b)
}
