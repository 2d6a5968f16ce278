package revocation

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"mintmark/internal/ledger"
)

// Handler serves GET /crl/NAME.crl (RFC 5280, Section 4.2.1.13) and
// GET /ca/NAME.crt (Section 4.2.2.1), both DER.
func (p *Publisher) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /crl/{file}", p.serveCRL)
	mux.HandleFunc("GET /ca/{file}", p.serveCertificate)
	return mux
}

func (p *Publisher) serveCRL(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutSuffix(r.PathValue("file"), ".crl")
	if !ok {
		http.NotFound(w, r)
		return
	}
	crl, err := p.latest(r.Context(), name)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		http.NotFound(w, r)
		return
	case err != nil:
		p.Logger.Error("reading a CRL", "issuer", name, "error", err)
		w.Header().Set("Retry-After", "5")
		http.Error(w, "the CRL cannot be read at the moment", http.StatusServiceUnavailable)
		return
	}
	// Caches may keep it for a tenth of what remains, so that a revocation
	// reaches relying parties soon, and never past nextUpdate.
	age := max(0, min(crl.NextUpdate.Sub(p.Now())/10, time.Hour))
	w.Header().Set("Cache-Control", "public, max-age="+strconv.Itoa(int(age.Seconds())))
	w.Header().Set("ETag", `"`+strconv.FormatInt(crl.Number, 10)+`"`)
	w.Header().Set("Content-Type", "application/pkix-crl") // RFC 2585, Section 4.2
	http.ServeContent(w, r, "", crl.ThisUpdate, bytes.NewReader(crl.DER))
}

// latest reads a CRL at most once a second, however many ask for it.
func (p *Publisher) latest(ctx context.Context, name string) (ledger.CRL, error) {
	p.cached.Lock()
	defer p.cached.Unlock()
	if c, ok := p.cached.crls[name]; ok && p.Now().Sub(c.at).Abs() < time.Second {
		return c.crl, nil
	}
	crl, err := p.Ledger.LatestCRL(ctx, name, 0)
	if err == nil {
		p.cached.crls[name] = cachedCRL{crl, p.Now()}
	}
	return crl, err
}

func (p *Publisher) serveCertificate(w http.ResponseWriter, r *http.Request) {
	name, ok := strings.CutSuffix(r.PathValue("file"), ".crt")
	if ok {
		for _, authority := range p.Authorities() {
			if authority.Name() == name {
				write(w, "application/pkix-cert", authority.Certificate().Raw)
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
