package ceremony

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"

	"mintmark/ca"
)

// opener opens the key of an authority.
type opener func(context.Context) (crypto.Signer, error)

// authorities takes in those that the file names. keys gives the opener of a key by its
// URI; nil where nothing is signed.
func (w *world) authorities(keys func(uri string, want crypto.PublicKey) opener) error {
	for _, one := range w.file.Authorities {
		certs := w.given.certs[one.Name]
		a, err := ca.Import(one.Name, certs, nil)
		if err != nil {
			return err
		}
		if one.Key != "" && keys != nil {
			cert := a.Certificate()
			a, err = ca.New(ca.Config{Name: one.Name, Certificate: cert, Chain: a.Chain(), Signer: keys(one.Key, cert.PublicKey)})
			if err != nil {
				return err
			}
		}
		w.certs[one.Name], w.uris[one.Name] = a.Certificate(), one.Key
		w.issuers[one.Name] = a
	}
	return nil
}

// made takes in the certificate that a step made. What a root step made can sign.
func (w *world) made(s *Step, cert *x509.Certificate, signer opener) error {
	w.certs[s.Name] = cert
	if s.Root == nil {
		return nil
	}
	a, err := ca.New(ca.Config{Name: s.Name, Certificate: cert, Signer: signer})
	if err != nil {
		return fmt.Errorf("the new root: %w", err)
	}
	w.issuers[s.Name] = a
	return nil
}

// signer is the key that signs in a step.
func (w *world) signer(s *Step) (*Key, error) {
	name := s.by()
	if s.Root != nil {
		name = s.Name
	}
	return keyOf(w.certs[name].PublicKey, w.uris[name])
}

// path is a certificate and those above it, up to the root.
func (w *world) path(s *Step, cert *x509.Certificate) []*x509.Certificate {
	list := []*x509.Certificate{cert}
	if by := w.issuers[s.by()]; by != nil {
		list = append(list, by.Certificate())
		list = append(list, by.Chain()...)
	}
	return list
}
