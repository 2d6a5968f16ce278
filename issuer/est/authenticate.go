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
	device    string            // the device that the requester is; empty with a password
	order     string            // the work order whose credential was presented; empty for none
	own       *x509.Certificate // the certificate of ours that was presented, if one was
	profile   string            // the profile of own
}

// authenticate says who asks. RFC 7030, Section 3.2.3 and 3.3.2: clients are
// authenticated by TLS certificate or by HTTP Basic, never by anything that
// they have to support beyond that.
func (h *Handler) authenticate(x *exchange, passwords bool) (identity, error) {
	// Before anything else: a label that cannot issue says so at little cost.
	if x.label.Disabled != nil {
		if why := x.label.Disabled(); why != "" {
			f := fail(http.StatusServiceUnavailable, ruleDisabled, "this label issues nothing at the moment; the server's log and health page say why")
			f.err = errors.New(why)
			return identity{}, f
		}
	}
	passwords = passwords && x.label.basic()
	who, err := h.identify(x, passwords)
	if err != nil {
		return identity{}, err
	}
	x.who, x.device, x.order = who.requester, who.device, who.order
	x.note(slog.String("requester", who.requester.Kind+":"+who.requester.Name))
	return who, nil
}

func (h *Handler) identify(x *exchange, passwords bool) (identity, error) {
	if x.client == nil {
		if !passwords {
			return identity{}, fail(http.StatusForbidden, ruleNoCertificate, "%s needs a TLS client certificate here, and none was presented", x.op)
		}
		return h.byPassword(x)
	}
	who, err := h.byCertificate(x)
	if err == nil {
		return who, nil
	}
	// Some clients present whatever certificate they hold, because the TLS
	// server asks without saying whose it wants, and mean the password: Azure
	// IoT Edge sends both. A right password therefore counts beside a
	// certificate that does not. This gives nothing away, for the same client
	// could have left the certificate out; except that a certificate which
	// raises an alarm gets no further.
	var u *unacceptable
	if _, _, basic := x.r.BasicAuth(); passwords && basic && errors.As(err, &u) {
		x.note(slog.String("certificate_refused", u.rule))
		return h.byPassword(x)
	}
	return identity{}, err
}
