package adminhttp

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"mintmark/admin"
	"mintmark/internal/ledger"
	"mintmark/issuer"
)

func wireCRL(crl ledger.CRL) admin.CRL {
	return admin.CRL{
		Issuer: crl.Issuer, Shard: crl.Shard, Number: crl.Number, Size: len(crl.DER),
		ThisUpdate: crl.ThisUpdate.UTC(), NextUpdate: crl.NextUpdate.UTC(),
	}
}

func (h *handler) showCRL(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if _, err := h.RA.Authority(name); err != nil {
		return err
	}
	shard, err := shardOf(r)
	if err != nil {
		return err
	}
	crl, err := h.Ledger.LatestCRL(r.Context(), name, max(shard, 0))
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
	shard, err := shardOf(r)
	if err != nil {
		return err
	}
	if err := h.SignCRL(r.Context(), name, shard); err != nil {
		return administrator(err)
	}
	return h.showCRL(w, r)
}

// shardOf reads the shard that a request names: 0 is the full CRL, and -1 is none named.
func shardOf(r *http.Request) (int, error) {
	text := r.URL.Query().Get("shard")
	if text == "" {
		return -1, nil
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n > issuer.MaxShards {
		return 0, fail(http.StatusBadRequest, "shard", "shard %q is no number between 0, the full CRL, and %d", shorten(text), issuer.MaxShards)
	}
	return int(n), nil
}

// crlPlaces says how it stands with the places of CRLs.
func (h *handler) crlPlaces() []admin.CRLPlace {
	if h.CRLPlaces == nil {
		return nil
	}
	var list []admin.CRLPlace
	for _, p := range h.CRLPlaces() {
		one := admin.CRLPlace{Name: p.Name, Behind: p.Behind, Problems: p.Problems}
		if !p.Complete.IsZero() {
			at := p.Complete.UTC()
			one.Complete = &at
		}
		list = append(list, one)
	}
	return list
}

// importCRL takes a CRL from where the key of the authority is. It needs one person: the
// authority has signed what it says, and who delays it keeps a revoked CA at work.
func (h *handler) importCRL(w http.ResponseWriter, r *http.Request) error {
	var in admin.CRLImport
	if err := decode(r, &in); err != nil {
		return err
	}
	der, err := parseCRL(in.Content)
	if err != nil {
		return err
	}
	// Half of it would be revoked without the CRL.
	done, err := h.RA.ImportCRL(context.WithoutCancel(r.Context()), r.PathValue("name"), der, actor(r))
	if err != nil {
		return administrator(err)
	}
	out := admin.CRLImported{CRL: wireCRL(done.CRL), Revoked: serialTexts(done.Revoked)}
	if len(done.Unlisted) > 0 {
		out.Warning = fmt.Sprintf("revoked here and not on the CRL, so that whoever reads CRLs does not know of it: %s: have the next CRL list it", strings.Join(serialTexts(done.Unlisted), ", "))
	}
	return writeJSON(w, http.StatusOK, out)
}

func serialTexts(serials []ledger.Serial) []string {
	list := make([]string, 0, len(serials))
	for _, s := range serials {
		list = append(list, string(s))
	}
	return list
}

// parseCRL reads PEM that holds one CRL and nothing else.
func parseCRL(text string) ([]byte, error) {
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return nil, fail(http.StatusBadRequest, "crl", "the content holds no CRL in PEM")
	case block.Type != "X509 CRL":
		return nil, fail(http.StatusBadRequest, "crl", "the content holds a %q, not a CRL", shorten(block.Type))
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, fail(http.StatusBadRequest, "crl", "the content holds more than one CRL: import one at a time")
	}
	return block.Bytes, nil
}
