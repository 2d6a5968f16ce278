//go:build linux && cgo && !nopkcs11

package child

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"slices"

	"github.com/miekg/pkcs11"

	"mintmark/internal/keystore/token/wire"
)

// ckaPublicKeyInfo is CKA_PUBLIC_KEY_INFO (PKCS#11 v2.40, Section 4.8).
const ckaPublicKeyInfo = 0x129

// privateOf returns the private keys that belong to a public key: those of the id of
// its object, or that tell the key themselves, or of the id of a certificate with it.
func (l *library) privateOf(s *session, want any) ([]pkcs11.ObjectHandle, error) {
	if k, ok := want.(*rsa.PublicKey); ok {
		// An RSA private key has its modulus (PKCS#11 v2.40 mechanisms, Section 2.1.3).
		objects, err := l.objects(s, append(named(pkcs11.CKO_PRIVATE_KEY, nil, nil), rsaTemplate(k)[:2]...)...)
		if err != nil || len(objects) > 0 {
			return objects, err
		}
	}
	for _, find := range []func(*session, any) ([]pkcs11.ObjectHandle, error){l.byPublicObject, l.byOwnPublic, l.byCertificate} {
		objects, err := find(s, want)
		if err != nil || len(objects) > 0 {
			return objects, err
		}
	}
	return nil, nil
}

func rsaTemplate(k *rsa.PublicKey) []*pkcs11.Attribute {
	return []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, uint(pkcs11.CKK_RSA)),
		pkcs11.NewAttribute(pkcs11.CKA_MODULUS, k.N.Bytes()),
		pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, big.NewInt(int64(k.E)).Bytes()),
	}
}

// publicTemplates are the ways in which tokens write a public key.
func publicTemplates(want any) ([][]*pkcs11.Attribute, error) {
	switch k := want.(type) {
	case *rsa.PublicKey:
		return [][]*pkcs11.Attribute{rsaTemplate(k)}, nil
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			return nil, trouble(wire.BadRequest, "the public key is no point of its curve")
		}
		var t [][]*pkcs11.Attribute
		for _, p := range [][]byte{wrapPoint(point), point} {
			t = append(t, []*pkcs11.Attribute{
				pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, uint(pkcs11.CKK_EC)),
				pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, p),
			})
		}
		return t, nil
	}
	return nil, trouble(wire.BadRequest, "a public key of type %T is not one for a token", want)
}

// publicObjects returns the objects that are that public key.
func (l *library) publicObjects(s *session, want any) ([]pkcs11.ObjectHandle, error) {
	templates, err := publicTemplates(want)
	if err != nil {
		return nil, err
	}
	var all []pkcs11.ObjectHandle
	for _, t := range templates {
		objects, err := l.objects(s, append(named(pkcs11.CKO_PUBLIC_KEY, nil, nil), t...)...)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			if !slices.Contains(all, o) {
				all = append(all, o)
			}
		}
	}
	return all, nil
}

func (l *library) byPublicObject(s *session, want any) ([]pkcs11.ObjectHandle, error) {
	public, err := l.publicObjects(s, want)
	if err != nil {
		return nil, err
	}
	return l.privateBeside(s, public, want)
}

// privateBeside returns the private keys with the ids of other objects.
func (l *library) privateBeside(s *session, others []pkcs11.ObjectHandle, want any) ([]pkcs11.ObjectHandle, error) {
	var all []pkcs11.ObjectHandle
	for _, o := range others {
		id, err := l.attribute(s, o, pkcs11.CKA_ID)
		if err != nil {
			return nil, err
		}
		var label []byte
		if len(id) == 0 {
			if label, err = l.attribute(s, o, pkcs11.CKA_LABEL); err != nil {
				return nil, err
			}
			if len(label) == 0 {
				continue
			}
		}
		template := append(named(pkcs11.CKO_PRIVATE_KEY, id, label), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, keyTypeOf(want)))
		private, err := l.objects(s, template...)
		if err != nil {
			return nil, err
		}
		for _, p := range private {
			if !slices.Contains(all, p) {
				all = append(all, p)
			}
		}
	}
	return all, nil
}

// byOwnPublic asks every private key for its public half.
func (l *library) byOwnPublic(s *session, want any) ([]pkcs11.ObjectHandle, error) {
	private, err := l.objects(s, append(named(pkcs11.CKO_PRIVATE_KEY, nil, nil), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, keyTypeOf(want)))...)
	if err != nil {
		return nil, err
	}
	var all []pkcs11.ObjectHandle
	for _, o := range private {
		public, err := l.ownPublic(s, o)
		if err != nil {
			return nil, err
		}
		if samePublic(public, want) {
			all = append(all, o)
		}
	}
	return all, nil
}

// byCertificate looks for a certificate with the public key.
func (l *library) byCertificate(s *session, want any) ([]pkcs11.ObjectHandle, error) {
	certificates, err := l.objects(s, named(pkcs11.CKO_CERTIFICATE, nil, nil)...)
	if err != nil {
		return nil, err
	}
	var of []pkcs11.ObjectHandle
	for _, o := range certificates {
		public, err := l.certified(s, o)
		if err != nil {
			return nil, err
		}
		if samePublic(public, want) {
			of = append(of, o)
		}
	}
	return l.privateBeside(s, of, want)
}

// certified returns the public key of a certificate in the token, nil if it cannot
// be read.
func (l *library) certified(s *session, object pkcs11.ObjectHandle) (any, error) {
	der, err := l.attribute(s, object, pkcs11.CKA_VALUE)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil
	}
	return c.PublicKey, nil
}

// ownPublic returns the public key that a key object tells, public or private; nil if
// it tells none.
func (l *library) ownPublic(s *session, object pkcs11.ObjectHandle) (any, error) {
	info, err := l.attribute(s, object, ckaPublicKeyInfo)
	if err != nil {
		return nil, err
	}
	if k, err := x509.ParsePKIXPublicKey(info); err == nil {
		return k, nil
	}
	kind, err := l.keyType(s, object)
	if err != nil {
		return nil, err
	}
	var parts [2][]byte
	names := [2]uint{pkcs11.CKA_EC_PARAMS, pkcs11.CKA_EC_POINT}
	if kind == pkcs11.CKK_RSA {
		names = [2]uint{pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT}
	}
	for i, name := range names {
		if parts[i], err = l.attribute(s, object, name); err != nil {
			return nil, err
		}
		if len(parts[i]) == 0 {
			return nil, nil
		}
	}
	switch kind {
	case pkcs11.CKK_RSA:
		return parseRSA(parts[0], parts[1]), nil
	case pkcs11.CKK_EC:
		return parseEC(parts[0], parts[1]), nil
	}
	return nil, nil
}

// publicOf returns the SubjectPublicKeyInfo of a private key.
func (l *library) publicOf(s *session, k *key) ([]byte, error) {
	public, err := l.ownPublic(s, k.first)
	if err != nil {
		return nil, err
	}
	for _, class := range []uint{pkcs11.CKO_PUBLIC_KEY, pkcs11.CKO_CERTIFICATE} {
		if public != nil {
			break
		}
		if public, err = l.publicBeside(s, k, class); err != nil {
			return nil, err
		}
	}
	if public == nil {
		return nil, trouble(wire.BadKey, "the token has no public key or certificate with the id of the private key")
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, trouble(wire.BadKey, "the public key in the token: %v", err)
	}
	return der, nil
}

// publicBeside returns the public key of the objects with the id of a private key (or
// its label, where it has no id), nil if there is none. They must agree.
func (l *library) publicBeside(s *session, k *key, class uint) (any, error) {
	if len(k.id) == 0 && len(k.label) == 0 {
		return nil, nil
	}
	label := k.label
	if len(k.id) > 0 {
		label = nil
	}
	objects, err := l.objects(s, named(class, k.id, label)...)
	if err != nil {
		return nil, err
	}
	var public any
	for _, o := range objects {
		var one any
		if class == pkcs11.CKO_CERTIFICATE {
			one, err = l.certified(s, o)
		} else {
			one, err = l.ownPublic(s, o)
		}
		if err != nil {
			return nil, err
		}
		if one == nil || keyTypeOf(one) != k.kind {
			continue
		}
		if public != nil && !samePublic(public, one) {
			return nil, trouble(wire.ManyKeys, "the token has several public keys with the id of the private key")
		}
		public = one
	}
	return public, nil
}

// samePublic reports whether two public keys are the same.
func samePublic(a, b any) bool {
	if a == nil || b == nil {
		return false
	}
	x, err := x509.MarshalPKIXPublicKey(a)
	if err != nil {
		return false
	}
	y, err := x509.MarshalPKIXPublicKey(b)
	return err == nil && bytes.Equal(x, y)
}

func keyTypeOf(public any) uint {
	switch public.(type) {
	case *rsa.PublicKey:
		return pkcs11.CKK_RSA
	case *ecdsa.PublicKey:
		return pkcs11.CKK_EC
	}
	return pkcs11.CKK_VENDOR_DEFINED
}
