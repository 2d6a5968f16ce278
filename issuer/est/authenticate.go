package est

import (
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"

	"mintmark/internal/ledger"
)

// identity is an authenticated requester: step 1 of the issuance cycle.
type identity struct {
	requester ledger.Requester
	device    string            // the device that the requester is; empty with a shared password
	order     string            // the work order whose credential was presented; empty for none
	secret    [32]byte          // SHA-256 of the one-time secret that was presented; zero for none
	own       *x509.Certificate // the device certificate of ours that was presented, if one was
	profile   string            // the profile of own
	ra        bool              // a registration authority
}

// authenticate says who asks. RFC 7030, Section 3.2.3 and 3.3.2: clients are
// authenticated by TLS certificate, by HTTP Basic or by both, never by anything that
// they have to support beyond that.
func (h *Handler) authenticate(x *exchange) (identity, error) {
	// Before anything else: a label that cannot issue says so at little cost.
	if x.label.Disabled != nil {
		if why := x.label.Disabled(); why != "" {
			f := fail(http.StatusServiceUnavailable, ruleDisabled, "this label issues nothing at the moment; the server's log and health page say why")
			f.err = errors.New(why)
			return identity{}, f
		}
	}
	who, err := h.identify(x)
	if err != nil {
		return identity{}, err
	}
	x.who, x.device, x.order = who.requester, who.device, who.order
	x.note(slog.String("requester", who.requester.Kind+":"+who.requester.Name))
	return who, nil
}

func (h *Handler) identify(x *exchange) (identity, error) {
	// RFC 7030, Section 3.3.2: the certificate being renewed authenticates a
	// renewal. A password cannot stand for it, so none is looked at without it.
	passwords := x.label.basic() && x.op != "simplereenroll"
	switch {
	case x.client == nil && x.label.Both:
		return identity{}, fail(http.StatusForbidden, ruleNoCertificate, "this label needs a TLS client certificate and a password, and no certificate was presented")
	case x.client == nil && !passwords:
		return identity{}, fail(http.StatusForbidden, ruleNoCertificate, "%s needs a TLS client certificate here, and none was presented", x.op)
	case x.client == nil:
		return h.byPassword(x)
	}
	who, err := h.byCertificate(x)
	if err == nil {
		// Section 3.3.2, again, and Section 3.3.1: makers' trust anchors and
		// ours are two stores, and only what is under ours can be renewed.
		if x.op == "simplereenroll" && who.own == nil && !who.ra {
			return identity{}, fail(http.StatusForbidden, ruleMakerRenewal, "a maker's certificate enrolls and cannot renew: use simpleenroll, or the certificate that was enrolled")
		}
		both := x.label.Both
		if x.renews(who) {
			both = x.label.Renewal.Password
		}
		if both {
			return h.withPassword(x, who)
		}
		return who, nil
	}
	// Some clients present whatever certificate they hold, because the TLS
	// server asks without saying whose it wants, and mean the password: Azure
	// IoT Edge sends both. A right password therefore counts beside a
	// certificate that does not. This gives nothing away, for the same client
	// could have left the certificate out; except that a certificate which
	// raises an alarm gets no further, nor any where both are asked for.
	var u *unacceptable
	if _, _, basic := x.r.BasicAuth(); passwords && !x.label.Both && basic && errors.As(err, &u) {
		x.note(slog.String("certificate_refused", u.rule))
		return h.byPassword(x)
	}
	return identity{}, err
}

// withPassword demands a password beside the certificate that who presented.
// The certificate's holder stays the requester; the password adds what it is for.
func (h *Handler) withPassword(x *exchange, who identity) (identity, error) {
	x.note(slog.String("certificate", who.requester.Kind+":"+who.requester.Name))
	if _, _, basic := x.r.BasicAuth(); !basic {
		x.who, x.device = who.requester, who.device
		return identity{}, fail(http.StatusUnauthorized, ruleNoCredential, "the certificate is accepted, and a password is needed as well")
	}
	second, err := h.byPassword(x)
	x.who = who.requester // of a refusal, too
	if who.device != "" {
		x.device = who.device
	}
	if err != nil {
		return identity{}, err
	}
	x.note(slog.String("user", shorten(second.requester.Kind+":"+second.requester.Name)))
	switch {
	case who.device != "" && second.device != "" && who.device != second.device:
		return identity{}, fail(http.StatusForbidden, ruleBoth, "the certificate is that of device %q and the secret that of %q: both must be of the same", who.device, second.device)
	case who.order != "" && second.order != "" && who.order != second.order:
		return identity{}, fail(http.StatusForbidden, ruleBoth, "the claim certificate is that of work order %q and the secret that of %q: both must be of the same", who.order, second.order)
	}
	if who.device == "" {
		who.device = second.device
	}
	if who.order == "" {
		who.order = second.order
	}
	who.secret = second.secret
	return who, nil
}
