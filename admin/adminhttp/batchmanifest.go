package adminhttp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"mintmark/admin"
	"mintmark/internal/cms"
	"mintmark/internal/ledger"
	"mintmark/issuer/batch"
)

// signManifest signs the manifest of a batch if every certificate in it is on record as it
// stands there. What it says of files is the word of whoever sends it, whose name is in the
// record of the signer's certificate.
func (h *handler) signManifest(w http.ResponseWriter, r *http.Request) error {
	id, err := batchID(r)
	if err != nil {
		return err
	}
	if mediaType(r) != admin.MediaNDJSON {
		return fail(http.StatusUnsupportedMediaType, "content-type", "the body must be %s", admin.MediaNDJSON)
	}
	// An error only says that there is no connection to bound.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(uploadTime))
	content, err := io.ReadAll(r.Body)
	if err != nil {
		return malformed(err)
	}
	authority, err := h.checkManifest(r, id, content)
	if err != nil {
		return err
	}
	answer, key, err := h.RA.ManifestSigner(r.Context(), h.RA.Serving(authority, "", ""), id, h.requester(r))
	if err != nil {
		return err
	}
	signed, err := cms.Sign(cms.Signed{
		ContentType: cms.Data, Content: content, Detached: true, SigningTime: h.RA.Now().UTC().Truncate(time.Second),
		Signer: answer.Certificate, Certificates: append([]*x509.Certificate{answer.Certificate}, answer.Chain...),
	}, key)
	if err == nil {
		signed, err = cms.ContentInfo(cms.SignedData, signed)
	}
	if err != nil {
		return fmt.Errorf("signing the manifest of batch %s: %w", id, err)
	}
	return writeJSON(w, http.StatusOK, admin.BatchSignature{Signature: signed})
}

// checkManifest reads a manifest and compares it with the ledger. It returns the CA that it
// names.
func (h *handler) checkManifest(r *http.Request, id string, content []byte) (authority string, err error) {
	refused := func(err error) error {
		return fail(http.StatusBadRequest, "manifest", "the manifest cannot be signed: %v", err)
	}
	m, err := batch.ReadManifest(bytes.NewReader(content))
	if err != nil {
		return "", refused(err)
	}
	header := m.Header
	switch {
	case header.Batch != id:
		return "", refused(fmt.Errorf("it is that of batch %q", header.Batch))
	case header.Devices == 0:
		return "", refused(errors.New("it names no certificate"))
	}
	if err := h.mayBatch(caller(r), header.Profile, header.Issuer); err != nil {
		return "", err
	}
	related := h.RA.Related(header.Issuer)
	for more := true; more; {
		var some []batch.Entry
		for len(some) < checkedTogether {
			if more = m.Next(); !more {
				break
			}
			if entry := m.Entry(); entry.Serial != "" {
				some = append(some, entry)
			}
		}
		if err := h.allOnRecord(r.Context(), header, related, some); err != nil {
			var internal *internalLookup
			if errors.As(err, &internal) {
				return "", err
			}
			return "", refused(err)
		}
	}
	if err := m.Err(); err != nil {
		return "", refused(err)
	}
	return header.Issuer, nil
}

// checkedTogether bounds what is read of a manifest ahead of what is compared.
const checkedTogether = 1024

// allOnRecord compares certificates with the ledger, on all processors. The error is that of
// the first one that it is said of.
func (h *handler) allOnRecord(ctx context.Context, header batch.Header, related []string, entries []batch.Entry) error {
	wrong := make([]error, len(entries))
	var next atomic.Int64
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(entries)); i = next.Add(1) - 1 {
				wrong[i] = h.onRecord(ctx, header, related, entries[i])
			}
		})
	}
	wait.Wait()
	for _, err := range wrong {
		if err != nil {
			return err
		}
	}
	return nil
}

// internalLookup is an error that is no matter of the manifest.
type internalLookup struct{ error }

func (e *internalLookup) Unwrap() error { return e.error }

// onRecord compares one certificate of a manifest with the ledger. One that was revoked in the
// meantime was issued all the same, and the CRL says the rest.
func (h *handler) onRecord(ctx context.Context, header batch.Header, related []string, e batch.Entry) error {
	serial, err := parseSerial(e.Serial)
	if err != nil {
		return fmt.Errorf("certificate %q: %v", e.Serial, err)
	}
	c, err := h.Ledger.Certificate(ctx, serial)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return fmt.Errorf("certificate %s of device %q is not on record", serial, e.Device)
	case err != nil:
		return &internalLookup{fmt.Errorf("looking up certificate %s: %w", serial, err)}
	}
	sum := sha256.Sum256(c.DER)
	switch {
	case c.State != ledger.Valid && c.State != ledger.Revoked || len(c.DER) == 0, c.Purpose != ledger.ForDevice:
		return fmt.Errorf("certificate %s is on record as none that a device has", serial)
	case hex.EncodeToString(sum[:]) != e.SHA256:
		return fmt.Errorf("certificate %s of device %q is on record with other content", serial, e.Device)
	case !calledSo(c, e.Device):
		return fmt.Errorf("certificate %s is on record as that of device %q, and not of %q", serial, c.Device, e.Device)
	case c.Profile != header.Profile || !slices.Contains(related, c.Issuer):
		return fmt.Errorf("certificate %s is on record under profile %q and CA %q, which are not the manifest's", serial, c.Profile, c.Issuer)
	}
	return nil
}

// calledSo reports whether a name is that of a certificate's device: the one by which the
// inventory has it, or one that the certificate says.
func calledSo(c ledger.Certificate, name string) bool {
	if c.Device == name {
		return true
	}
	parsed, err := x509.ParseCertificate(c.DER)
	return err == nil && (parsed.Subject.CommonName == name || parsed.Subject.SerialNumber == name)
}
