package auditor

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"runtime"
	"sync"

	"mintmark/internal/ledger"
)

// authority is what the logs say of a certification authority: its
// certificates, of which a renewal makes several.
type authority struct {
	certificates []*x509.Certificate
	waiting      []job // certificates that were read before any of the above
}

// maxWaiting bounds what waits for an authority: a root waits for its own
// record, and a certificate of another server's CA for that server's.
const maxWaiting = 10_000

// job is a certificate to be verified.
type job struct {
	place
	serial  ledger.Serial
	der     []byte
	tbs     [32]byte
	issuer  string
	issuers []*x509.Certificate // nil: imported, only read
}

// certificate verifies what was issued against its intent and its issuer.
func (v *verification) certificate(at place, o *openIntent, serial ledger.Serial, der []byte) {
	j := job{place: at, serial: serial, der: der, tbs: o.tbs, issuer: o.issuer}
	a := v.named(o.issuer)
	if len(a.certificates) > 0 {
		j.issuers = a.certificates
		v.pool.add(j)
		return
	}
	if len(a.waiting) >= maxWaiting {
		v.find(at.file, at.line, "certificate %s is of authority %q, and none of the given logs has recorded that one", serial, o.issuer)
		return
	}
	a.waiting = append(a.waiting, j)
}

func (v *verification) named(name string) *authority {
	a := v.authorities[name]
	if a == nil {
		a = &authority{}
		v.authorities[name] = a
	}
	return a
}

// authority takes over the record of an authority, whose chain must hold up to
// a root.
func (v *verification) authority(at place, r *ledger.Authority) {
	a := v.named(r.Name)
	if len(r.Certificate) == 0 {
		return // its request waits for a root that is kept elsewhere
	}
	var chain []*x509.Certificate
	for i, der := range append([][]byte{r.Certificate}, r.Chain...) {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			v.find(at.file, at.line, "certificate %d of authority %q cannot be read: %v", i+1, r.Name, err)
			return
		}
		chain = append(chain, c)
	}
	for i, c := range chain {
		above := chain[min(i+1, len(chain)-1)]
		if err := signedBy(c, above); err != nil {
			v.find(at.file, at.line, "the chain of authority %q does not hold: certificate %d: %v", r.Name, i+1, err)
			return
		}
	}
	for _, known := range a.certificates {
		if known.Equal(chain[0]) {
			return
		}
	}
	// Workers have the old slice.
	a.certificates = append(a.certificates[:len(a.certificates):len(a.certificates)], chain[0])
	for _, j := range a.waiting {
		j.issuers = a.certificates
		v.pool.add(j)
	}
	a.waiting = nil
}

func (v *verification) settleAuthorities() {
	for name, a := range v.authorities {
		for _, j := range a.waiting {
			v.find(j.file, j.line, "certificate %s is of authority %q, and none of the given logs has recorded that one", j.serial, name)
		}
	}
}

// signedBy verifies one link of a chain.
func signedBy(c, above *x509.Certificate) error {
	if !bytes.Equal(c.RawIssuer, above.RawSubject) {
		return fmt.Errorf("its issuer is %s and not %s", c.Issuer, above.Subject)
	}
	if err := above.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature); err != nil {
		return fmt.Errorf("the key of %s has not signed it", above.Subject)
	}
	return nil
}

// verify says what is wrong with the certificate, empty for nothing.
func (j *job) verify() string {
	c, err := x509.ParseCertificate(j.der)
	if err != nil {
		return fmt.Sprintf("certificate %s cannot be read: %v", j.serial, err)
	}
	if hex.EncodeToString(c.SerialNumber.Bytes()) != string(j.serial) {
		return fmt.Sprintf("certificate %x is recorded under the serial number %s", c.SerialNumber.Bytes(), j.serial)
	}
	if j.issuers == nil {
		return ""
	}
	if sha256.Sum256(c.RawTBSCertificate) != j.tbs {
		return fmt.Sprintf("certificate %s is not what its intent says", j.serial)
	}
	for _, above := range j.issuers {
		if err = signedBy(c, above); err == nil {
			return ""
		}
	}
	return fmt.Sprintf("certificate %s is not of authority %q: %v", j.serial, j.issuer, err)
}

// A pool verifies certificates on all processors.
type pool struct {
	jobs  chan []job
	batch []job
	done  sync.WaitGroup
	once  sync.Once

	mu       sync.Mutex
	findings []finding
	count    int64
}

type finding struct {
	place
	text string
}

func newPool() *pool {
	p := &pool{jobs: make(chan []job, 2*runtime.GOMAXPROCS(0))}
	for range runtime.GOMAXPROCS(0) {
		p.done.Go(p.work)
	}
	return p
}

func (p *pool) work() {
	for batch := range p.jobs {
		for i := range batch {
			if text := batch[i].verify(); text != "" {
				p.mu.Lock()
				p.count++
				if len(p.findings) < maxFindings {
					p.findings = append(p.findings, finding{batch[i].place, text})
				}
				p.mu.Unlock()
			}
		}
	}
}

// add hands over a certificate; some at a time, which is cheaper.
func (p *pool) add(j job) {
	p.batch = append(p.batch, j)
	if len(p.batch) >= 64 {
		p.jobs <- p.batch
		p.batch = nil
	}
}

// finish waits for all certificates and returns what was found, and how much
// that was if not all of it was kept.
func (p *pool) finish() ([]finding, int64) {
	p.jobs <- p.batch
	p.batch = nil
	p.stop()
	return p.findings, p.count
}

// stop ends the workers.
func (p *pool) stop() {
	p.once.Do(func() { close(p.jobs) })
	p.done.Wait()
}
