package server

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"mintmark/issuer"
	"mintmark/issuer/est"
)

const (
	// maxCRL bounds a file: some 200,000 revocations.
	maxCRL = 8 << 20
	// lookEvery is how often the files are looked at for a change.
	lookEvery = 5 * time.Second
	// clockSkew is how far the maker's clock may be ahead of ours.
	clockSkew = 5 * time.Minute
)

// makerCRLs hold the CRLs of a maker, read again when their files change. It is
// safe for concurrent use.
type makerCRLs struct {
	log   *slog.Logger
	look  time.Duration
	mu    sync.Mutex
	at    time.Time // of the last look
	files []*crlFile
}

// crlFile is one file with at most one CRL.
type crlFile struct {
	path string
	seen os.FileInfo // nil while there is none
	crl  *makerCRL   // nil while there is none that counts

	missing bool // and the log says so
}

func newMakerCRLs(paths []string, log *slog.Logger) *makerCRLs {
	m := &makerCRLs{log: log, look: lookEvery}
	for _, path := range paths {
		m.files = append(m.files, &crlFile{path: path})
	}
	m.current()
	return m
}

// revoked is est.Maker.Revoked. It fails closed: a certificate whose issuer has
// no CRL here, or none that is in force, is refused, and so is what is below it.
func (m *makerCRLs) revoked(path []*x509.Certificate, now time.Time) error {
	crls := m.current()
	for i, certificate := range path[:max(0, len(path)-1)] { // the root answers to nobody
		if err := standing(crls, certificate, path[i+1], now); err != nil {
			return err
		}
	}
	return nil
}

// standing asks the CRLs of one issuer about one certificate: RFC 5280, Section
// 6.3.3. If several are in force, the newest counts.
func standing(crls []*makerCRL, certificate, issuerOf *x509.Certificate, now time.Time) error {
	var newest *makerCRL
	why := errors.New("there is none")
	for _, c := range crls {
		if !bytes.Equal(c.issuer, certificate.RawIssuer) {
			continue
		}
		if err := c.covers(certificate, issuerOf, now); err != nil {
			why = err
			continue
		}
		if newest == nil || c.this.After(newest.this) {
			newest = c
		}
	}
	if newest == nil {
		return fmt.Errorf("no CRL of %q is in force for the maker's certificate %s: %w", certificate.Issuer, issuer.SerialOf(certificate.SerialNumber), why)
	}
	if newest.serials[string(certificate.SerialNumber.Bytes())] {
		return fmt.Errorf("%w: serial number %s of %q", est.ErrRevokedByMaker, issuer.SerialOf(certificate.SerialNumber), certificate.Issuer)
	}
	return nil
}

// current returns the CRLs that there are, after a look at the files if the last
// one was long ago.
func (m *makerCRLs) current() []*makerCRL {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); m.at.IsZero() || now.Sub(m.at) >= m.look {
		m.at = now
		for _, f := range m.files {
			m.refresh(f)
		}
	}
	var list []*makerCRL
	for _, f := range m.files {
		if f.crl != nil {
			list = append(list, f.crl)
		}
	}
	return list
}

// refresh reads a file that has changed. One that is gone or damaged leaves
// nothing of what it held before: whoever put it there meant to replace it.
func (m *makerCRLs) refresh(f *crlFile) {
	info, err := os.Stat(f.path)
	if err == nil && f.seen != nil && os.SameFile(info, f.seen) && info.Size() == f.seen.Size() && info.ModTime().Equal(f.seen.ModTime()) {
		return
	}
	if err != nil && f.missing {
		return // said already
	}
	f.seen, f.crl, f.missing = info, nil, err != nil
	if err == nil {
		f.crl, err = readCRL(f.path)
	}
	if err != nil {
		m.log.Error("a maker's CRL cannot be read; certificates of its issuer are refused", "file", f.path, "error", err)
		return
	}
	m.log.Info("read a maker's CRL", "file", f.path, "issuer", f.crl.name, "this_update", f.crl.this, "next_update", f.crl.next, "revoked", len(f.crl.serials))
}

// makerCRL is what counts of a CRL.
type makerCRL struct {
	name       string // of the issuer, for the log
	issuer     []byte // DER
	key        []byte // authority key identifier; may be empty
	this, next time.Time
	scope      crlScope
	serials    map[string]bool
	list       *x509.RevocationList // without its entries: for the signature

	mu    sync.Mutex
	valid map[[32]byte]bool // whether the signature is that of a certificate's key
}

// covers says why a CRL does not count for a certificate, or nil.
func (c *makerCRL) covers(certificate, issuerOf *x509.Certificate, now time.Time) error {
	if len(c.key) > 0 && len(issuerOf.SubjectKeyId) > 0 && !bytes.Equal(c.key, issuerOf.SubjectKeyId) {
		return errors.New("it is of another key of that name")
	}
	if err := c.scope.covers(certificate); err != nil {
		return err
	}
	if !c.signedBy(issuerOf) {
		return errors.New("its signature is not that of the issuing CA, or that CA may not sign CRLs")
	}
	switch {
	case c.this.After(now.Add(clockSkew)):
		return fmt.Errorf("it is from the future: thisUpdate is %s", c.this.UTC().Format(time.RFC3339))
	case !now.Before(c.next):
		return fmt.Errorf("it is out of date: nextUpdate was %s", c.next.UTC().Format(time.RFC3339))
	}
	return nil
}

// maxIssuers bounds the certificates whose keys are remembered for a CRL.
const maxIssuers = 16

// signedBy verifies the signature, once for each certificate: it may cover
// megabytes.
func (c *makerCRL) signedBy(by *x509.Certificate) bool {
	id := sha256.Sum256(by.Raw)
	c.mu.Lock()
	defer c.mu.Unlock()
	if ok, known := c.valid[id]; known {
		return ok
	}
	// Also wants the key usage cRLSign, where there is a key usage.
	ok := c.list.CheckSignatureFrom(by) == nil
	if len(c.valid) >= maxIssuers {
		clear(c.valid)
	}
	c.valid[id] = ok
	return ok
}

// readCRL reads one CRL, PEM or DER, and refuses one that does not say
// everything about the certificates that it is for.
func readCRL(path string) (*makerCRL, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is not a regular file", path))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxCRL+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxCRL {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxCRL)
	}
	return parseCRL(data)
}

func parseCRL(data []byte) (*makerCRL, error) {
	if block, rest := pem.Decode(data); block != nil {
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("it holds a PEM block %q and not a CRL", block.Type)
		}
		if next, _ := pem.Decode(rest); next != nil {
			return nil, errors.New("it holds more than one PEM block: give each CRL a file of its own")
		}
		data = block.Bytes
	}
	list, err := x509.ParseRevocationList(data)
	if err != nil {
		return nil, fmt.Errorf("parsing the CRL: %w", err)
	}
	// RFC 5280, Section 5.1.2.5: nextUpdate must be there.
	if list.NextUpdate.IsZero() {
		return nil, errors.New("it has no nextUpdate: nobody can tell when it is out of date")
	}
	scope, err := scopeOf(list)
	if err != nil {
		return nil, err
	}
	c := &makerCRL{
		name: list.Issuer.String(), issuer: list.RawIssuer, key: list.AuthorityKeyId, this: list.ThisUpdate, next: list.NextUpdate,
		scope: scope, serials: make(map[string]bool, len(list.RevokedCertificateEntries)), valid: make(map[[32]byte]bool),
		list: &x509.RevocationList{
			RawTBSRevocationList: list.RawTBSRevocationList, Signature: list.Signature, SignatureAlgorithm: list.SignatureAlgorithm,
		},
	}
	for _, e := range list.RevokedCertificateEntries {
		for _, x := range e.Extensions {
			// RFC 5280, Section 5.3: certificateIssuer is critical, and of indirect CRLs.
			if x.Critical {
				return nil, fmt.Errorf("an entry has the critical extension %s, which this version does not know", x.Id)
			}
		}
		c.serials[string(e.SerialNumber.Bytes())] = true
	}
	return c, nil
}
