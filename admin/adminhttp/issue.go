package adminhttp

import (
	"crypto/x509"
	"encoding/pem"
	"maps"
	"net/http"
	"slices"
	"strings"

	"mintmark/admin"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

func (h *handler) issue(w http.ResponseWriter, r *http.Request) error {
	var in admin.Issue
	if err := decode(r, &in); err != nil {
		return err
	}
	der, err := requestDER(in.CSR)
	if err != nil {
		return err
	}
	if !h.issuable(in.Profile) {
		return issuer.ErrNoProfile
	}
	operation := issueOperation(h.RA.Profiles[in.Profile].Purpose)
	if who := caller(r); !who.Can(operation) {
		return denied(who, operation)
	}
	// As for labels: their holders are no devices, and no device is one of them.
	if slices.Contains(h.RA.Related(h.OfficerIssuer), in.Issuer) || slices.Contains(h.RA.Related(h.ClaimIssuer), in.Issuer) {
		return fail(http.StatusForbidden, "issuer", "CA %q issues the certificates of people or of work orders and nothing else: name the issuing CA of the devices", in.Issuer)
	}
	if operation == access.RAIssue {
		if proceed, err := h.mayIssueRA(w, r, in, der); !proceed {
			return err
		}
	} else if who := caller(r); !who.Has(access.Operator) && !h.labelled(in.Profile, in.Issuer) {
		return fail(http.StatusForbidden, "station", "%q may issue what a label issues, and none has profile %q under CA %q", who.Name, in.Profile, in.Issuer)
	}
	rule := issuer.Trusted
	if in.Order != "" {
		rule = issuer.ByOrder
	}
	answer, err := h.RA.Enroll(r.Context(), issuer.Request{
		Profile: in.Profile, Issuer: in.Issuer, CSR: der, Requester: h.requester(r),
		Authorize: rule, Order: in.Order, Operation: string(operation),
	})
	if err != nil {
		return err
	}
	return h.issued(w, r, answer)
}

// issueOperation is what it takes to have a certificate of a purpose issued.
func issueOperation(p ledger.Purpose) access.Operation {
	switch p {
	case ledger.ForServer:
		return access.ServerIssue
	case ledger.ForRA:
		return access.RAIssue
	}
	return access.CertificateIssue
}

// mayIssueRA asks for a second officer: whoever holds the certificate of a
// registration authority enrolls any device at its labels, as a CA could.
func (h *handler) mayIssueRA(w http.ResponseWriter, r *http.Request, in admin.Issue, der []byte) (proceed bool, err error) {
	if in.Order != "" {
		return false, fail(http.StatusBadRequest, "order", "a work order pays for the certificates of devices, and not for that of a registration authority")
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return false, fail(http.StatusBadRequest, "csr-pem", "the certification request cannot be read, or its signature is wrong: %v", err)
	}
	if _, err := h.RA.Authority(in.Issuer); err != nil {
		return false, err
	}
	var labels []string
	for _, name := range slices.Sorted(maps.Keys(h.Labels)) {
		if slices.Contains(h.Labels[name].RegistrationAuthorities, in.Profile) {
			labels = append(labels, name)
		}
	}
	return h.twoPersons(w, r, access.RAIssue, raWords(csr, in, labels), in)
}

// issued answers with a certificate and its chain.
func (h *handler) issued(w http.ResponseWriter, r *http.Request, answer issuer.Answer) error {
	record, err := h.Ledger.Certificate(r.Context(), answer.Serial)
	if err != nil {
		return err
	}
	out := admin.Issued{Certificate: wireCertificate(record), Prior: answer.Prior}
	out.Certificate.PEM = encodePEM("CERTIFICATE", answer.Certificate.Raw)
	for _, c := range answer.Chain {
		out.Chain += encodePEM("CERTIFICATE", c.Raw)
	}
	return writeJSON(w, http.StatusCreated, out)
}

// labelled reports whether a label issues that profile under that CA.
func (h *handler) labelled(profile, issuer string) bool {
	for _, l := range h.Labels {
		if l.Profile == profile && l.Issuer == issuer {
			return true
		}
	}
	return false
}

// issuable reports whether a profile is one of the configuration. Those that
// the server issues for itself are nobody else's.
func (h *handler) issuable(profile string) bool {
	p, ok := h.RA.Profiles[profile]
	return ok && (p.Purpose == ledger.ForDevice || p.Purpose == ledger.ForServer || p.Purpose == ledger.ForRA)
}

// profiles lists the issuable ones.
func (h *handler) profiles() []string {
	names := []string{}
	for _, name := range slices.Sorted(maps.Keys(h.RA.Profiles)) {
		if h.issuable(name) {
			names = append(names, name)
		}
	}
	return names
}

// requestDER reads a certification request in PEM.
func requestDER(text string) ([]byte, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || (block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST") {
		return nil, fail(http.StatusBadRequest, "csr-pem", "csr is not a certification request in PEM (BEGIN CERTIFICATE REQUEST)")
	}
	if strings.TrimSpace(string(rest)) != "" {
		return nil, fail(http.StatusBadRequest, "csr-pem", "csr holds more than one certification request")
	}
	return block.Bytes, nil
}

// wireCertificate puts a record on the wire, without the certificate itself.
func wireCertificate(c ledger.Certificate) admin.Certificate {
	out := admin.Certificate{
		Serial: string(c.Serial), State: string(c.State), Issuer: c.Issuer, Profile: c.Profile, Label: c.Label,
		Purpose: string(c.Purpose), Device: c.Device, Order: c.Order, Subject: c.Subject,
		Requester: admin.Requester{Kind: c.Requester.Kind, Name: c.Requester.Name},
		Key:       hexOf(c.Key[:]), NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC(),
		IssuedAt: utc(c.IssuedAt), RevokedAt: utc(c.RevokedAt), RevokedBy: c.RevokedBy,
	}
	if c.Requester.Address.IsValid() {
		out.Requester.Address = c.Requester.Address.String()
	}
	if c.State == ledger.Revoked {
		out.Reason = c.Reason.String()
	}
	return out
}
