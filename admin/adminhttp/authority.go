package adminhttp

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"net/http"

	"mintmark/admin"
	"mintmark/ca"
	"mintmark/internal/keystore"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

func (h *handler) listAuthorities(w http.ResponseWriter, r *http.Request) error {
	records, err := h.Ledger.Authorities(r.Context())
	if err != nil {
		return err
	}
	list := admin.Authorities{Authorities: []admin.Authority{}}
	for _, record := range records {
		a, err := h.authority(r, record, false)
		if err != nil {
			return err
		}
		list.Authorities = append(list.Authorities, a)
	}
	return writeJSON(w, http.StatusOK, list)
}

func (h *handler) showAuthority(w http.ResponseWriter, r *http.Request) error {
	a, err := h.describeAuthority(r, r.PathValue("name"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, a)
}

// describeAuthority is everything about one authority.
func (h *handler) describeAuthority(r *http.Request, name string) (admin.Authority, error) {
	records, err := h.Ledger.Authorities(r.Context())
	if err != nil {
		return admin.Authority{}, err
	}
	for _, record := range records {
		if record.Name == name {
			return h.authority(r, record, true)
		}
	}
	return admin.Authority{}, issuer.ErrNoAuthority
}

// authority puts a record on the wire.
func (h *handler) authority(r *http.Request, record ledger.Authority, full bool) (admin.Authority, error) {
	a := admin.Authority{
		Name: record.Name, State: admin.Waiting, CreatedAt: record.CreatedAt.UTC(),
		KeyURI: keystore.Redact(record.KeyURI),
	}
	if len(record.Certificate) == 0 {
		return a, nil
	}
	certificate, err := x509.ParseCertificate(record.Certificate)
	if err != nil {
		return a, err
	}
	fingerprint := sha256.Sum256(certificate.Raw)
	a.Root = len(record.Chain) == 0
	a.Subject, a.Issuer = certificate.Subject.String(), certificate.Issuer.String()
	a.Serial, a.Fingerprint = string(issuer.SerialOf(certificate.SerialNumber)), hex.EncodeToString(fingerprint[:])
	a.NotBefore, a.NotAfter = utc(certificate.NotBefore), utc(certificate.NotAfter)
	if algorithm, err := ca.AlgorithmOf(certificate.PublicKey); err == nil {
		a.Key = string(algorithm)
	}
	if certificate.MaxPathLen > 0 || certificate.MaxPathLenZero {
		a.PathLen = &certificate.MaxPathLen
	}
	switch {
	case h.RA.Now().After(certificate.NotAfter):
		a.State = admin.Expired
	case h.RA.Withdrawn(record.Name):
		a.State = admin.Withdrawn
	case record.KeyURI == "":
		a.State = admin.Anchor
	default:
		a.State = admin.Ready
	}
	crl, err := h.Ledger.LatestCRL(r.Context(), record.Name, 0)
	switch {
	case err == nil:
		found := wireCRL(crl)
		a.CRL = &found
	case !errors.Is(err, ledger.ErrNotFound):
		return a, err
	}
	if full {
		a.Certificate = encodePEM("CERTIFICATE", record.Certificate)
		a.Chain = encodePEM("CERTIFICATE", record.Chain...)
		if a.Rollovers, err = h.rolloversOf(r.Context(), record.Name); err != nil {
			return a, err
		}
	}
	return a, nil
}

func encodePEM(kind string, ders ...[]byte) string {
	var text []byte
	for _, der := range ders {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	return string(text)
}
