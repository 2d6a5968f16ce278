package adminhttp

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"mintmark/admin"
	"mintmark/ca"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

const (
	// maxImported bounds the certificates of one import; they are recorded in
	// one transaction.
	maxImported = 20_000
	// maxWrong is how many wrong certificates are told of.
	maxWrong = 20
)

// importCertificates records certificates that were issued before mintmark: all
// or none.
func (h *handler) importCertificates(w http.ResponseWriter, r *http.Request) error {
	if mediaType(r) != admin.MediaPEM {
		return fail(http.StatusUnsupportedMediaType, "content-type", "the body must be %s", admin.MediaPEM)
	}
	p := query(r, "profile", "device")
	profile, attribute := p.text("profile"), p.oneOf("device", "commonName", "serialNumber")
	if p.err != nil {
		return p.err
	}
	rules, ok := h.RA.Profiles[profile]
	switch {
	case !ok || !h.issuable(profile):
		return issuer.ErrNoProfile
	case rules.Purpose != ledger.ForDevice:
		return fail(http.StatusBadRequest, "profile", "profile %q is not for devices", profile)
	}
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return malformed(err)
	}
	found, err := splitBundle(content)
	if err != nil {
		return err
	}
	records, err := h.examine(r.Context(), found, rules, attribute, actor(r))
	if err != nil {
		return err
	}
	known, err := h.notTaken(r.Context(), records)
	if err != nil {
		return err
	}
	taken, err := h.Ledger.ImportCertificates(r.Context(), records, actor(r), h.RA.Now())
	if err != nil {
		return err
	}
	if err := errors.Join(taken...); err != nil {
		return fmt.Errorf("serial numbers were taken while the certificates were imported: %w", err)
	}
	h.Logger.Info("certificates imported", "profile", profile, "certificates", len(records), "new", len(records)-known, "actor", actor(r))
	return writeJSON(w, http.StatusCreated, admin.CertificatesImported{Certificates: len(records), New: len(records) - known})
}

// splitBundle returns the certificates of a PEM file.
func splitBundle(content []byte) ([][]byte, error) {
	bad := func(format string, args ...any) ([][]byte, error) {
		return nil, fail(http.StatusBadRequest, "certificates", format, args...)
	}
	var list [][]byte
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if strings.Contains(string(rest), "-----BEGIN") {
				return bad("what follows certificate %d begins as PEM and is none", len(list))
			}
			break
		}
		if block.Type != "CERTIFICATE" {
			return bad("what follows certificate %d is a %q: the file must hold certificates only", len(list), block.Type)
		}
		if list = append(list, block.Bytes); len(list) > maxImported {
			return bad("there are more than %d certificates: split the file", maxImported)
		}
	}
	if len(list) == 0 {
		return bad("the file holds no certificate in PEM")
	}
	return list, nil
}

// examine makes records of certificates, or says which are wrong.
func (h *handler) examine(ctx context.Context, found [][]byte, profile *issuer.Profile, attribute, actor string) ([]ledger.Certificate, error) {
	records := make([]ledger.Certificate, 0, len(found))
	seen := make(map[ledger.Serial]int, len(found))
	var wrong []string
	for i, der := range found {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		record, err := h.examineOne(der, profile, attribute)
		if first, twice := seen[record.Serial]; err == nil && twice {
			err = fmt.Errorf("it has the serial number of certificate %d", first)
		}
		if err != nil {
			if wrong = append(wrong, fmt.Sprintf("certificate %d: %v", i+1, err)); len(wrong) == maxWrong {
				wrong = append(wrong, "and perhaps more: reading stopped here")
				break
			}
			continue
		}
		record.Requester = ledger.Requester{Kind: "admin", Name: actor}
		seen[record.Serial] = i + 1
		records = append(records, record)
	}
	if len(wrong) > 0 {
		return nil, fail(http.StatusConflict, "certificates", "nothing was imported:\n%s", strings.Join(wrong, "\n"))
	}
	return records, nil
}

func (h *handler) examineOne(der []byte, profile *issuer.Profile, attribute string) (ledger.Certificate, error) {
	var none ledger.Certificate
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return none, fmt.Errorf("it cannot be read: %w", err)
	}
	now := h.RA.Now()
	switch {
	case c.SerialNumber.Sign() <= 0 || len(c.SerialNumber.Bytes()) > 20:
		return none, errors.New("its serial number is not a positive number of at most 20 octets (RFC 5280, Section 4.1.2.2)")
	case c.IsCA:
		return none, errors.New("it is a CA's: mintmark ca import takes those")
	case now.After(c.NotAfter):
		return none, fmt.Errorf("it has expired on %s", c.NotAfter.UTC().Format("2006-01-02"))
	}
	i := slices.IndexFunc(h.RA.Authorities(), func(a *ca.Authority) bool {
		return string(a.Certificate().RawSubject) == string(c.RawIssuer) && c.CheckSignatureFrom(a.Certificate()) == nil
	})
	if i < 0 {
		return none, fmt.Errorf("no authority here has signed it (its issuer is %q): import the CA first, with or without its key", c.Issuer)
	}
	authority := h.RA.Authorities()[i]
	if h.RA.Withdrawn(authority.Name()) {
		return none, fmt.Errorf("its issuing CA, %q, is revoked", authority.Name())
	}
	device, err := profile.DeviceIn(c.Subject, attribute)
	if err != nil {
		return none, err
	}
	return ledger.Certificate{
		Serial: issuer.SerialOf(c.SerialNumber), Issuer: authority.Name(), Profile: profile.Name, Purpose: ledger.ForDevice,
		Device: device, Subject: c.Subject.String(), Key: sha256.Sum256(c.RawSubjectPublicKeyInfo),
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, State: ledger.Valid, DER: c.Raw, IntentAt: now, IssuedAt: c.NotBefore,
	}, nil
}

// notTaken says which serial numbers the ledger has for other certificates, or
// counts those that it has already.
func (h *handler) notTaken(ctx context.Context, records []ledger.Certificate) (known int, err error) {
	var wrong []string
	for i, record := range records {
		there, err := h.Ledger.Certificate(ctx, record.Serial)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
		case err != nil:
			return 0, err
		case string(there.DER) == string(record.DER):
			known++
		default:
			wrong = append(wrong, fmt.Sprintf("certificate %d: serial number %s is recorded for another certificate (%s)", i+1, record.Serial, there.Subject))
		}
		if len(wrong) == maxWrong {
			break
		}
	}
	if len(wrong) > 0 {
		return 0, fail(http.StatusConflict, "certificates", "nothing was imported:\n%s", strings.Join(wrong, "\n"))
	}
	return known, nil
}
