package station

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Probe is one thing that was looked at, and what to do if it is not well.
type Probe struct {
	What, Found string
	Err         error // nil if it is well
}

// ProbeServer looks whether the server answers, whether its certificates lead to the trust
// anchors, and whether it takes the credential; it uses no unit of an order.
func ProbeServer(ctx context.Context, server Server, anchors []*x509.Certificate, now time.Time) []Probe {
	list, err := server.CACerts(ctx)
	if err != nil {
		return []Probe{{What: "server", Err: err}}
	}
	probes := []Probe{{What: "server", Found: "answers"}, probeAnchors(list, anchors, now)}
	return append(probes, probeCredential(ctx, server))
}

// probeAnchors looks whether what the server's issuing CAs sign would lead to an anchor.
func probeAnchors(list, anchors []*x509.Certificate, now time.Time) Probe {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, a := range anchors {
		roots.AddCert(a)
	}
	for _, c := range list {
		between.AddCert(c)
	}
	options := x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	leads := 0
	var last error
	for _, c := range list {
		if _, err := c.Verify(options); err != nil {
			last = fmt.Errorf("%q: %w%s", c.Subject.String(), err, clockHint(err, now))
		} else {
			leads++
		}
	}
	if leads == 0 {
		return Probe{What: "trust anchors", Err: fmt.Errorf("no CA of the server leads to those of this station: %w", last)}
	}
	return Probe{What: "trust anchors", Found: fmt.Sprintf("%d of the server's %d CA certificates lead to them", leads, len(list))}
}

// probeCredential sends a request whose signature is wrong. RFC 7030, Section 4.2.3: the
// server authenticates before it judges the request, and this one it cannot grant.
func probeCredential(ctx context.Context, server Server) Probe {
	key, err := newKey("")
	if err != nil {
		return Probe{What: "credential", Err: err}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "station-check"}}, key)
	if err != nil {
		return Probe{What: "credential", Err: err}
	}
	der[len(der)-1] ^= 1 // within the signature
	_, err = server.Enroll(ctx, der)
	var status Status
	code := 0
	if errors.As(err, &status) {
		code, _, _ = status.Status()
	}
	switch {
	case code == http.StatusBadRequest:
		return Probe{What: "credential", Found: "taken; mintmark order show says at the server how many units are left"}
	case err == nil:
		return Probe{What: "credential", Err: errors.New("the server has issued a certificate for a request with a wrong signature: it proves nothing of who asks")}
	}
	return Probe{What: "credential", Err: err}
}

// ProbeDevice looks whether devices could be reached.
func (c *Config) ProbeDevice() []Probe {
	switch d := c.Device; {
	case d.Serial != nil:
		p := Probe{What: "serial port", Found: fmt.Sprintf("%s opens at %d baud", d.Serial.Port, d.Serial.Baud)}
		if p.Err = c.serial().Open(); p.Err != nil {
			p.Found = ""
		}
		return []Probe{p}
	case d.Commands != nil:
		return c.probeCommands()
	}
	return []Probe{probeFolder("requests", c.path(c.Device.Files.Requests)), probeFolder("certificates", c.path(c.Device.Files.Certificates))}
}

// probeFolder looks whether files can be made in a folder: requests are renamed in theirs.
func probeFolder(what, dir string) Probe {
	p := Probe{What: what, Found: dir}
	f, err := os.CreateTemp(dir, ".check-*")
	switch {
	case what == "certificates" && errors.Is(err, fs.ErrNotExist):
		p.Found += ", which a run makes"
	case errors.Is(err, fs.ErrNotExist):
		p.Err = fmt.Errorf("there is no folder %s", dir)
	case err != nil:
		p.Err = err
	default:
		p.Err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	return p
}

// ProbeKeys says what it costs that keys are made here; nothing if devices make their own.
func (c *Config) ProbeKeys() []Probe {
	if c.Device.Keygen != "station" {
		return nil
	}
	found := fmt.Sprintf("made here, %s: each one that does not reach its device has used a unit of the order, and its certificate must be revoked", c.Device.KeyType)
	if c.Verify == ByNothing {
		found += "; with verify: none it is not seen whether one did"
	}
	return []Probe{{What: "keys", Found: found}}
}

// ProbeWork looks whether queue and record can be used; what a crash has left of a last
// line is repaired, as a run does it.
func (c *Config) ProbeWork() Probe {
	o := c.Options()
	p := Probe{What: "queue and record", Found: o.Dir}
	q, err := OpenQueue(filepath.Join(o.Dir, queueDir))
	if err == nil {
		var r *Record
		if r, err = OpenRecord(o.recordFile(), o.Format, func(string, ...any) {}); err == nil {
			err = r.Close()
		}
		err = errors.Join(err, q.Close())
	}
	p.Err = err
	return p
}

func (c *Config) probeCommands() []Probe {
	var probes []Probe
	for _, argv := range [][]string{c.Device.Commands.Identify, c.Device.Commands.Request, c.Device.Commands.Install, c.Device.Commands.Verify} {
		if len(argv) == 0 {
			continue
		}
		name := argv[0]
		if filepath.Base(name) != name && !filepath.IsAbs(name) {
			name = filepath.Join(c.base, name)
		}
		p := Probe{What: "command"}
		if p.Found, p.Err = exec.LookPath(name); p.Err != nil {
			p.Found = ""
		}
		probes = append(probes, p)
	}
	return probes
}
