package adminhttp

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"net/http"

	"mintmark/admin"
	"mintmark/internal/ledger"
)

// anchorBundle answers with the trust anchors for a firmware image.
func (h *handler) anchorBundle(w http.ResponseWriter, r *http.Request) error {
	p := query(r, "trust", "bridges")
	trust, bridges := p.oneOf("trust", "old", "both", "new"), p.oneOf("bridges", "true", "false") == "true"
	if trust == "" {
		p.refuse("say in trust whose root: old, both or new")
	}
	if p.err != nil {
		return p.err
	}
	record, err := h.rotation(r)
	if err != nil {
		return err
	}
	switch {
	case record.Kind != ledger.RotateRoot:
		return fail(http.StatusConflict, "rotation-bundle", "rotation %s replaces an issuing CA: the root stays, and devices need no new anchor", record.ID)
	case record.Emergency && trust != "new":
		return fail(http.StatusConflict, "rotation-bundle", "the key of root %q is in wrong hands: a bundle with it would have devices go on trusting it. Take the new root alone", record.Old)
	}
	out := admin.AnchorBundle{Rotation: record.ID}
	add := func(kind string, c *x509.Certificate) {
		sum := sha256.Sum256(c.Raw)
		out.Certificates = append(out.Certificates, admin.BundleCertificate{Kind: kind, Subject: c.Subject.String(), NotAfter: c.NotAfter.UTC(), SHA256: hexOf(sum[:]), DER: c.Raw})
	}
	before, err := h.RA.Authority(record.Old)
	if err != nil {
		return administrator(err)
	}
	if trust != "new" {
		add("old-root", before.Certificate())
	}
	next, err := h.RA.Authority(record.New)
	if err != nil && trust != "old" {
		return fail(http.StatusConflict, "rotation-bundle", "root %q is not there yet: it is made on the way into KEY_GENERATED", record.New)
	}
	if trust != "old" {
		add("new-root", next.Certificate())
	}
	if !bridges {
		return writeJSON(w, http.StatusOK, out)
	}
	count := len(out.Certificates)
	for _, c := range h.RA.Bridges(record.New) {
		switch {
		case c.Equal(before.Certificate()), c.Equal(next.Certificate()):
		case bytes.Equal(c.RawSubjectPublicKeyInfo, before.Certificate().RawSubjectPublicKeyInfo):
			add("old-with-new", c)
		default:
			add("new-with-old", c)
		}
	}
	if len(out.Certificates) == count {
		return fail(http.StatusConflict, "rotation-bundle", "nothing leads from one root to the other at the moment: that is given out from DISTRIBUTING until TRUST_REMOVED. Leave the bridges out")
	}
	return writeJSON(w, http.StatusOK, out)
}
