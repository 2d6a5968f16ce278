package revocation

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"mintmark/internal/ledger"
)

// Media types of RFC 2585, Section 4.
const (
	typeCRL         = "application/pkix-crl"
	typeCertificate = "application/pkix-cert"
)

// Handler serves GET /crl/NAME.crl and /crl/NAME/SHARD.crl (RFC 5280, Section 4.2.1.13)
// and GET /ca/NAME.crt (Section 4.2.2.1), all DER. Nothing is compressed: what is signed
// does not get smaller, and small clients do not unpack.
func (p *Publisher) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /crl/{file}", func(w http.ResponseWriter, r *http.Request) {
		if name, ok := strings.CutSuffix(r.PathValue("file"), ".crl"); ok {
			p.serveCRL(w, r, ledger.CRLName{Issuer: name})
			return
		}
		http.NotFound(w, r)
	})
	mux.HandleFunc("GET /crl/{name}/{file}", func(w http.ResponseWriter, r *http.Request) {
		text, ok := strings.CutSuffix(r.PathValue("file"), ".crl")
		// One spelling of a number only, and no 0: that is the full one's.
		shard, err := strconv.ParseUint(text, 10, 16)
		if !ok || err != nil || shard == 0 || strconv.FormatUint(shard, 10) != text {
			http.NotFound(w, r)
			return
		}
		p.serveCRL(w, r, ledger.CRLName{Issuer: r.PathValue("name"), Shard: int(shard)})
	})
	mux.HandleFunc("GET /ca/{file}", p.serveCertificate)
	return mux
}

func (p *Publisher) serveCRL(w http.ResponseWriter, r *http.Request, name ledger.CRLName) {
	crl, err := p.latest(r.Context(), name)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		http.NotFound(w, r)
		return
	case err != nil:
		p.Logger.Error("reading a CRL", "issuer", name.Issuer, "shard", name.Shard, "error", err)
		w.Header().Set("Retry-After", "5")
		http.Error(w, "the CRL cannot be read at the moment", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Cache-Control", cacheControl(crlAge(crl, p.Now())))
	w.Header().Set("ETag", `"`+strconv.FormatInt(crl.Number, 10)+`"`)
	w.Header().Set("Content-Type", typeCRL)
	http.ServeContent(w, r, "", crl.ThisUpdate, bytes.NewReader(crl.DER))
}

// crlAge is how long caches may keep a CRL: a tenth of what remains, so that a revocation
// reaches relying parties soon, and never past nextUpdate.
func crlAge(crl ledger.CRL, now time.Time) time.Duration {
	return max(0, min(crl.NextUpdate.Sub(now)/10, time.Hour))
}

func cacheControl(age time.Duration) string {
	return "public, max-age=" + strconv.Itoa(int(age.Seconds()))
}

func (p *Publisher) serveCertificate(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutSuffix(r.PathValue("file"), ".crt")
	if ok {
		for _, authority := range p.Authorities() {
			if authority.Name() == name {
				write(w, typeCertificate, authority.Certificate().Raw)
				return
			}
		}
	}
	http.NotFound(w, r)
}

func write(w http.ResponseWriter, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}
