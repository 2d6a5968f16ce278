package adminhttp

import (
	"net/http"

	"mintmark/admin"
	"mintmark/internal/ledger"
)

func wireCRL(crl ledger.CRL) admin.CRL {
	return admin.CRL{
		Issuer: crl.Issuer, Number: crl.Number, Size: len(crl.DER),
		ThisUpdate: crl.ThisUpdate.UTC(), NextUpdate: crl.NextUpdate.UTC(),
	}
}

func (h *handler) showCRL(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if _, err := h.RA.Authority(name); err != nil {
		return err
	}
	crl, err := h.Ledger.LatestCRL(r.Context(), name)
	if err != nil {
		return err
	}
	out := wireCRL(crl)
	out.Content = encodePEM("X509 CRL", crl.DER)
	return writeJSON(w, http.StatusOK, out)
}

func (h *handler) publishCRL(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if _, err := h.RA.Authority(name); err != nil {
		return err
	}
	if err := h.PublishCRL(r.Context(), name); err != nil {
		return administrator(err)
	}
	return h.showCRL(w, r)
}
