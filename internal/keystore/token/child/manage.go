//go:build linux && cgo && !nopkcs11

package child

import (
	"bytes"
	"crypto/x509"

	"github.com/miekg/pkcs11"

	"mintmark/internal/keystore/token/wire"
)

// writing has f use a session that may change the token: one more for as long as it
// takes, or one of the pool's place where the token has no more.
func (l *library) writing(f func(*session) error) error {
	return l.use(func(pooled *session) error {
		const flags = pkcs11.CKF_SERIAL_SESSION | pkcs11.CKF_RW_SESSION
		s, err := l.openSession(flags)
		if err == nil {
			defer l.ctx.CloseSession(s.handle) //nolint:errcheck
			return f(s)
		}
		if !hasCode(err, pkcs11.CKR_SESSION_COUNT) {
			return err
		}
		// Closing the last session logs out (Section 5.6): with one session, there is
		// no way.
		if l.sessions.size < 2 {
			return err
		}
		l.ctx.CloseSession(pooled.handle) //nolint:errcheck
		pooled.lost = true
		if s, err = l.openSession(flags); err != nil {
			return err
		}
		err = f(s)
		l.ctx.CloseSession(s.handle) //nolint:errcheck
		again, e := l.openSession(pkcs11.CKF_SERIAL_SESSION)
		if e == nil {
			*pooled = *again
		}
		return err
	})
}

// generate does what wire.Generate says.
func (l *library) generate(g *wire.Generate) (wire.Key, error) {
	if len(g.ID) == 0 || len(g.Label) == 0 {
		return wire.Key{}, trouble(wire.BadRequest, "a key needs an id and a label")
	}
	mechanism, parameters := keyMaking(g.Algorithm)
	if parameters == nil {
		return wire.Key{}, trouble(wire.BadRequest, "keys of the algorithm %q are not made in tokens", g.Algorithm)
	}
	public := append(policy(g, publicPolicy), parameters...)
	private := policy(g, privatePolicy)
	var made wire.Key
	err := l.writing(func(s *session) error {
		mechanisms := []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}
		modifiable := false
		half, object, err := l.ctx.GenerateKeyPair(s.handle, mechanisms, public, append(private, pkcs11.NewAttribute(pkcs11.CKA_MODIFIABLE, false)))
		if code := failed("", err); hasCode(code, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID) || hasCode(code, pkcs11.CKR_TEMPLATE_INCONSISTENT) {
			modifiable = true // said in the reply
			half, object, err = l.ctx.GenerateKeyPair(s.handle, mechanisms, public, private)
		}
		if err != nil {
			return s.broken("C_GenerateKeyPair", err)
		}
		k, err := l.describe(s, object, nil)
		if err != nil {
			// Nobody would ever find the key.
			l.ctx.DestroyObject(s.handle, object) //nolint:errcheck
			l.ctx.DestroyObject(s.handle, half)   //nolint:errcheck
			return err
		}
		made = l.remember(s, k)
		made.Modifiable = modifiable
		return nil
	})
	return made, err
}

// keyMaking returns the mechanism of an algorithm and what the public key needs for
// it; nil for an algorithm that is not known.
func keyMaking(algorithm string) (mechanism uint, parameters []*pkcs11.Attribute) {
	for i, name := range []string{"P-256", "P-384"} {
		if name == algorithm {
			return pkcs11.CKM_EC_KEY_PAIR_GEN, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, curves[i].params)}
		}
	}
	bits, ok := map[string]uint{"RSA-2048": 2048, "RSA-3072": 3072, "RSA-4096": 4096}[algorithm]
	if !ok {
		return 0, nil
	}
	return pkcs11.CKM_RSA_PKCS_KEY_PAIR_GEN, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_MODULUS_BITS, bits),
		pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}),
	}
}

// setting is a boolean attribute of a new key.
type setting struct {
	attribute uint
	value     bool
}

// privatePolicy makes a key that signs and does nothing else, and stays where it is.
var privatePolicy = []setting{
	{pkcs11.CKA_TOKEN, true},
	{pkcs11.CKA_PRIVATE, true},
	{pkcs11.CKA_SENSITIVE, true},
	{pkcs11.CKA_EXTRACTABLE, false},
	{pkcs11.CKA_SIGN, true},
	{pkcs11.CKA_SIGN_RECOVER, false},
	{pkcs11.CKA_DECRYPT, false},
	{pkcs11.CKA_UNWRAP, false},
	{pkcs11.CKA_DERIVE, false},
}

var publicPolicy = []setting{
	{pkcs11.CKA_TOKEN, true},
	{pkcs11.CKA_VERIFY, true},
	{pkcs11.CKA_VERIFY_RECOVER, false},
	{pkcs11.CKA_ENCRYPT, false},
	{pkcs11.CKA_WRAP, false},
	{pkcs11.CKA_DERIVE, false},
	{pkcs11.CKA_MODIFIABLE, false},
}

func policy(g *wire.Generate, settings []setting) []*pkcs11.Attribute {
	t := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_ID, bytes.Clone(g.ID)), pkcs11.NewAttribute(pkcs11.CKA_LABEL, bytes.Clone(g.Label))}
	for _, s := range settings {
		t = append(t, pkcs11.NewAttribute(s.attribute, s.value))
	}
	return t
}

// told are the attributes that are read back from a private key.
var told = []struct {
	attribute uint
	name      string
}{
	{pkcs11.CKA_TOKEN, "CKA_TOKEN"},
	{pkcs11.CKA_PRIVATE, "CKA_PRIVATE"},
	{pkcs11.CKA_SENSITIVE, "CKA_SENSITIVE"},
	{pkcs11.CKA_ALWAYS_SENSITIVE, "CKA_ALWAYS_SENSITIVE"},
	{pkcs11.CKA_EXTRACTABLE, "CKA_EXTRACTABLE"},
	{pkcs11.CKA_NEVER_EXTRACTABLE, "CKA_NEVER_EXTRACTABLE"},
	{pkcs11.CKA_LOCAL, "CKA_LOCAL"},
	{pkcs11.CKA_SIGN, "CKA_SIGN"},
	{pkcs11.CKA_SIGN_RECOVER, "CKA_SIGN_RECOVER"},
	{pkcs11.CKA_DECRYPT, "CKA_DECRYPT"},
	{pkcs11.CKA_UNWRAP, "CKA_UNWRAP"},
	{pkcs11.CKA_DERIVE, "CKA_DERIVE"},
	{pkcs11.CKA_MODIFIABLE, "CKA_MODIFIABLE"},
	{pkcs11.CKA_ALWAYS_AUTHENTICATE, "CKA_ALWAYS_AUTHENTICATE"},
}

// attributes reads back the boolean attributes of a private key.
func (l *library) attributes(handle uint32) ([]wire.Attribute, error) {
	var all []wire.Attribute
	err := l.use(func(s *session) error {
		_, object, err := l.lookup(s, handle)
		if err != nil {
			return err
		}
		for _, a := range told {
			v, err := l.attribute(s, object, a.attribute)
			if err != nil {
				return err
			}
			known := len(v) == 1 // a CK_BBOOL
			all = append(all, wire.Attribute{Name: a.name, Known: known, Value: known && v[0] != 0})
		}
		return nil
	})
	return all, err
}

// destroy removes a private key and its public key. A certificate of it is left.
func (l *library) destroy(handle uint32) error {
	return l.writing(func(s *session) error {
		k, object, err := l.lookup(s, handle)
		if err != nil {
			return err
		}
		want, err := x509.ParsePKIXPublicKey(k.public)
		if err != nil {
			return err
		}
		public, err := l.publicObjects(s, want)
		if err != nil {
			return err
		}
		if err := l.ctx.DestroyObject(s.handle, object); err != nil {
			return s.broken("C_DestroyObject", err)
		}
		l.keys.Delete(handle)
		for _, o := range public {
			if err := l.ctx.DestroyObject(s.handle, o); err != nil {
				return s.broken("C_DestroyObject", err)
			}
		}
		return nil
	})
}
