package ceremony

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"

	"mintmark/ca"
)

// steps opens the keys that exist, so that one which is missing is found before
// another is made, and carries the steps out.
func (r *run) steps(ctx context.Context) error {
	for i := range r.File.Steps {
		s := &r.File.Steps[i]
		if by := r.world.issuers[s.by()]; by != nil {
			if err := by.Open(ctx); err != nil {
				return fmt.Errorf("step %q: %w", s.Name, err)
			}
		}
		if s.Destroy != nil {
			if _, err := r.doomed(ctx, s); err != nil {
				return fmt.Errorf("step %q: %w", s.Name, err)
			}
		}
	}
	for i := range r.File.Steps {
		s := &r.File.Steps[i]
		// Not only before: a cable may be plugged in at any time.
		if err := r.offline(); err != nil {
			return fmt.Errorf("step %q: %w", s.Name, err)
		}
		fmt.Fprintf(r.out, "step %d of %d: %s %s\n", i+1, len(r.File.Steps), s.Kind(), s.Name)
		d, err := r.step(ctx, s)
		if err != nil {
			return fmt.Errorf("step %q: %w", s.Name, err)
		}
		r.record.Steps = append(r.record.Steps, *d)
		fmt.Fprint(r.out, d.words())
	}
	return nil
}

func (r *run) step(ctx context.Context, s *Step) (*Done, error) {
	switch {
	case s.Root != nil:
		return r.root(ctx, s)
	case s.CRL != nil:
		return r.crl(ctx, s)
	case s.Destroy != nil:
		return r.destroy(ctx, s)
	}
	p, err := r.world.certificate(s, r.serial())
	if err != nil {
		return nil, err
	}
	return r.issue(ctx, s, p)
}

func (r *run) root(ctx context.Context, s *Step) (*Done, error) {
	if err := r.journal.append(making(s)); err != nil {
		return nil, err
	}
	uri, signer, err := r.cfg.Keys.Create(ctx, s.Root.Key, s.Root.Algorithm)
	if err != nil {
		return nil, err
	}
	key, err := keyOf(signer.Public(), uri)
	if err != nil {
		return nil, err
	}
	if token, ok := signer.(attributed); ok {
		if key.Attributes, err = token.Attributes(ctx); err != nil {
			return nil, fmt.Errorf("reading back the attributes of the new key: %w", err)
		}
	}
	if err := r.journal.append(entry{Kind: entryMade, Step: s.Name, Key: key}); err != nil {
		return nil, err
	}
	p, err := r.world.root(s, r.serial(), signer)
	if err != nil {
		return nil, err
	}
	// What signs has no certificate yet to be known by.
	r.world.certs[s.Name], r.world.uris[s.Name] = p.Certificate(), uri
	d, err := r.issue(ctx, s, p)
	if err != nil {
		return nil, err
	}
	d.Key = key
	return d, r.world.made(s, r.world.certs[s.Name], func(context.Context) (crypto.Signer, error) { return signer, nil })
}

// issue records the intent, signs a certificate and writes it.
func (r *run) issue(ctx context.Context, s *Step, p *ca.Prepared) (*Done, error) {
	signer, err := r.world.signer(s)
	if err != nil {
		return nil, err
	}
	serial := fmt.Sprintf("%x", p.Certificate().SerialNumber)
	if err := r.journal.append(entry{Kind: entryIntent, Step: s.Name, Key: signer, Serial: serial, TBS: hex.EncodeToString(p.TBS())}); err != nil {
		return nil, err
	}
	p.Recorded()
	cert, err := p.Issue(ctx)
	if err != nil {
		return nil, err
	}
	outputs, err := r.write(s, certificateFiles(s, r.world.path(s, cert)))
	if err != nil {
		return nil, err
	}
	d, err := doneCertificate(s, cert, outputs)
	if err != nil {
		return nil, err
	}
	d.Signer, d.At = signer, r.cfg.now()
	r.world.certs[s.Name] = cert
	return d, r.journal.append(entry{Kind: entrySigned, Step: s.Name, SHA256: d.SHA256, Outputs: outputs})
}

// certificateFiles are the contents of the outputs of a step that makes a certificate,
// in the order of Step.outputs.
func certificateFiles(s *Step, path []*x509.Certificate) [][]byte {
	files := [][]byte{pemOf("CERTIFICATE", path[0].Raw)}
	if s.Root != nil {
		return files
	}
	var chain []byte
	for _, c := range path {
		chain = append(chain, pemOf("CERTIFICATE", c.Raw)...)
	}
	return append(files, chain)
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func (r *run) crl(ctx context.Context, s *Step) (*Done, error) {
	p, err := r.world.crl(s)
	if err != nil {
		return nil, err
	}
	signer, err := r.world.signer(s)
	if err != nil {
		return nil, err
	}
	if err := r.journal.append(entry{Kind: entryIntent, Step: s.Name, Key: signer, TBS: hex.EncodeToString(p.TBS())}); err != nil {
		return nil, err
	}
	der, err := p.Issue(ctx)
	if err != nil {
		return nil, err
	}
	l, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("parsing the signed CRL: %w", err)
	}
	outputs, err := r.write(s, crlFiles(der))
	if err != nil {
		return nil, err
	}
	d := doneCRL(s, l, outputs)
	d.Signer, d.At = signer, r.cfg.now()
	return d, r.journal.append(entry{Kind: entrySigned, Step: s.Name, SHA256: d.SHA256, Outputs: outputs})
}

// crlFiles are the contents of the outputs of a CRL, in the order of Step.outputs.
func crlFiles(der []byte) [][]byte { return [][]byte{pemOf("X509 CRL", der), der} }

// write writes the outputs of a step.
func (r *run) write(s *Step, contents [][]byte) ([]Item, error) {
	var items []Item
	for i, name := range s.outputs() {
		if err := r.folder.write(folderOutputs+name, contents[i]); err != nil {
			return nil, err
		}
		items = append(items, itemOf(name, contents[i]))
	}
	return items, nil
}

// doomed opens the key that a step destroys and checks that it is that key.
func (r *run) doomed(ctx context.Context, s *Step) (crypto.PublicKey, error) {
	signer, err := r.cfg.Keys.Signer(ctx, s.Destroy.Key, nil)
	if err != nil {
		return nil, err
	}
	hash, err := keyHash(signer.Public())
	if err != nil {
		return nil, err
	}
	if hash != s.Destroy.SHA256 {
		return nil, fmt.Errorf("the key at %s is %s, not %s: it is not destroyed", redact(s.Destroy.Key), hash, s.Destroy.SHA256)
	}
	return signer.Public(), nil
}

func (r *run) destroy(ctx context.Context, s *Step) (*Done, error) {
	public, err := r.doomed(ctx, s)
	if err != nil {
		return nil, err
	}
	key, err := keyOf(public, s.Destroy.Key)
	if err != nil {
		return nil, err
	}
	if err := r.journal.append(entry{Kind: entryDestroying, Step: s.Name, Key: key}); err != nil {
		return nil, err
	}
	if err := r.cfg.Keys.Destroy(ctx, s.Destroy.Key, public); err != nil {
		return nil, err
	}
	switch _, err := r.cfg.Keys.Signer(ctx, s.Destroy.Key, public); {
	case err == nil:
		return nil, fmt.Errorf("the key at %s is still there after it was destroyed", key.URI)
	case !errors.Is(err, r.cfg.NotFound):
		return nil, fmt.Errorf("looking for the key at %s after it was destroyed: %w", key.URI, err)
	}
	d := &Done{Step: s.Name, Kind: s.Kind(), Key: key, At: r.cfg.now()}
	return d, r.journal.append(entry{Kind: entryDestroyed, Step: s.Name, Key: key})
}
