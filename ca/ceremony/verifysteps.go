package ceremony

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"mintmark/ca"
)

// steps builds again what each step signed, and holds the outputs, the transcript and
// the journal against it.
func (v *verifier) steps() {
	entries, err := readJournal(v.files[fileJournal], v.file.Hash())
	if err != nil {
		v.report.bad("%s: %v", fileJournal, err)
	}
	want := []entry{{Kind: entryBegin, SHA256: hexHash(v.files[fileStatement])}}
	v.world = newWorld(v.file, v.given)
	if err := v.world.authorities(nil); err != nil {
		v.report.bad("inputs: %v", err)
		return
	}
	if len(v.said.Steps) != len(v.file.Steps) {
		v.report.bad("%s has %d steps, the file %d", fileTranscript, len(v.said.Steps), len(v.file.Steps))
		return
	}
	for i := range v.file.Steps {
		s, said := &v.file.Steps[i], &v.said.Steps[i]
		d, tbs, err := v.step(s, said)
		if err != nil {
			v.report.bad("step %q: %v", s.Name, err)
			return // what comes after may stand on it
		}
		want = append(want, entriesOf(s, said, tbs)...)
		if !sameJSON(d, said) {
			v.report.bad("step %q: the transcript says something else of it than its outputs", s.Name)
			continue
		}
		v.report.good("step %q (%s): %s", s.Name, s.Kind(), checkedWords(s, d))
	}
	want = append(want, entry{Kind: entryEnd})
	if !slices.EqualFunc(want, entries, func(a, b entry) bool { return a.same(b) }) {
		v.report.bad("%s does not tell what the transcript does", fileJournal)
		return
	}
	v.report.good("the journal is whole (%d entries) and says of each step before it what was then done", len(entries))
}

func checkedWords(s *Step, d *Done) string {
	switch {
	case s.Destroy != nil:
		return fmt.Sprintf("the key %s at %s is recorded as destroyed, which no file can prove", d.Key.SHA256, d.Key.URI)
	case s.CRL != nil:
		return fmt.Sprintf("CRL number %d with %d entries, SHA-256 %s, is what file and inputs make, byte by byte; lint and signature are good", d.Number, d.Entries, d.SHA256)
	}
	return fmt.Sprintf("certificate of %q, serial %s, SHA-256 %s, is what file and inputs make, byte by byte; lint, signature and path are good", d.Subject, d.Serial, d.SHA256)
}

// step checks the outputs of a step, and returns what the transcript must say of it
// and what was signed. What only the transcript can know is taken from there.
func (v *verifier) step(s *Step, said *Done) (*Done, []byte, error) {
	switch {
	case s.Destroy != nil:
		if said.Key == nil || said.Key.SHA256 != s.Destroy.SHA256 {
			return nil, nil, errors.New("the transcript names another key than the file")
		}
		return &Done{
			Step: s.Name, Kind: s.Kind(), At: said.At,
			Key: &Key{URI: redact(s.Destroy.Key), Algorithm: said.Key.Algorithm, SHA256: s.Destroy.SHA256},
		}, nil, nil
	case s.CRL != nil:
		return v.crl(s, said)
	}
	return v.certificate(s, said)
}

func (v *verifier) certificate(s *Step, said *Done) (*Done, []byte, error) {
	data, err := v.output(s.outputs()[0])
	if err != nil {
		return nil, nil, err
	}
	der, err := onePEM(data, "CERTIFICATE")
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("parsing the certificate: %w", err)
	}
	serial := serialOf(said.Serial)
	if serial == nil || serial.Text(16) != said.Serial {
		return nil, nil, fmt.Errorf("%q is not a serial number", said.Serial)
	}
	tbs, err := v.rebuild(s, cert, serial)
	if err != nil {
		return nil, nil, err
	}
	if !bytes.Equal(tbs, cert.RawTBSCertificate) {
		return nil, nil, errors.New("what was signed is not what file and inputs make")
	}
	v.world.certs[s.Name] = cert
	if s.Root != nil && said.Key != nil {
		v.world.uris[s.Name] = said.Key.URI
	}
	path := v.world.path(s, cert)
	if s.Root != nil {
		err = v.world.made(s, cert, nil)
	} else {
		_, err = ca.New(ca.Config{Name: s.Name, Certificate: cert, Chain: path[1:]})
	}
	if err != nil {
		return nil, nil, err // both verify the signatures
	}
	outputs, err := v.outputs(s, certificateFiles(s, path))
	if err != nil {
		return nil, nil, err
	}
	d, err := doneCertificate(s, cert, outputs)
	if err != nil {
		return nil, nil, err
	}
	d.At = said.At
	if d.Signer, err = v.world.signer(s); err != nil {
		return nil, nil, err
	}
	if s.Root != nil && said.Key != nil {
		d.Key.URI, d.Key.Attributes = redact(said.Key.URI), said.Key.Attributes
	}
	return d, tbs, nil
}

// rebuild builds and lints again what the step signed.
func (v *verifier) rebuild(s *Step, cert *x509.Certificate, serial *big.Int) ([]byte, error) {
	var p *ca.Prepared
	var err error
	if s.Root != nil {
		if err := ca.CheckKey(cert.PublicKey); err != nil {
			return nil, err
		}
		p, err = v.world.root(s, serial, publicOnly{cert.PublicKey})
	} else {
		p, err = v.world.certificate(s, serial)
	}
	if err != nil {
		return nil, err
	}
	return p.TBS(), nil
}

func (v *verifier) crl(s *Step, said *Done) (*Done, []byte, error) {
	der, err := v.output(s.CRL.Outputs.DER)
	if err != nil {
		return nil, nil, err
	}
	l, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, nil, fmt.Errorf("parsing the CRL: %w", err)
	}
	p, err := v.world.crl(s)
	if err != nil {
		return nil, nil, err
	}
	if !bytes.Equal(p.TBS(), l.RawTBSRevocationList) {
		return nil, nil, errors.New("what was signed is not what file and inputs make")
	}
	if err := l.CheckSignatureFrom(v.world.issuers[s.CRL.By].Certificate()); err != nil {
		return nil, nil, fmt.Errorf("the signature: %w", err)
	}
	outputs, err := v.outputs(s, crlFiles(der))
	if err != nil {
		return nil, nil, err
	}
	d := doneCRL(s, l, outputs)
	d.At = said.At
	d.Signer, err = v.world.signer(s)
	return d, p.TBS(), err
}

// output returns an output that must be there.
func (v *verifier) output(name string) ([]byte, error) {
	data, ok := v.files[folderOutputs+name]
	if !ok {
		return nil, fmt.Errorf("%s%s is missing", folderOutputs, name)
	}
	return data, nil
}

// outputs holds the outputs of a step against what they must be.
func (v *verifier) outputs(s *Step, contents [][]byte) ([]Item, error) {
	var items []Item
	for i, name := range s.outputs() {
		data, err := v.output(name)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(data, contents[i]) {
			return nil, fmt.Errorf("%s%s does not hold what it should, in the form in which it was written", folderOutputs, name)
		}
		items = append(items, itemOf(name, data))
	}
	return items, nil
}
