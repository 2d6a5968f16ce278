//go:build linux && cgo && !nopkcs11

package child

import (
	"bytes"
	"crypto/x509"
	"errors"

	"github.com/miekg/pkcs11"

	"mintmark/internal/keystore/token/wire"
)

// maxObjects bounds how many objects of the token a search takes in.
const maxObjects = 1000

// key is a private key that was found or made.
type key struct {
	id, label []byte
	kind      uint // CKK_
	public    []byte
	size      int // of a signature as C_Sign returns it, in bytes
	first     pkcs11.ObjectHandle
}

// objects returns the objects that have the attributes.
func (l *library) objects(s *session, template ...*pkcs11.Attribute) ([]pkcs11.ObjectHandle, error) {
	if err := l.ctx.FindObjectsInit(s.handle, template); err != nil {
		return nil, s.broken("C_FindObjectsInit", err)
	}
	var found []pkcs11.ObjectHandle
	var err error
	for len(found) < maxObjects {
		var some []pkcs11.ObjectHandle
		some, _, err = l.ctx.FindObjects(s.handle, 50)
		if err != nil || len(some) == 0 {
			break
		}
		found = append(found, some...)
	}
	if e := l.ctx.FindObjectsFinal(s.handle); err == nil && e != nil {
		return nil, s.broken("C_FindObjectsFinal", e)
	}
	if err != nil {
		return nil, s.broken("C_FindObjects", err)
	}
	return found, nil
}

// attribute returns an attribute of an object, nil if the object has none such or
// does not tell.
func (l *library) attribute(s *session, object pkcs11.ObjectHandle, kind uint) ([]byte, error) {
	a, err := l.ctx.GetAttributeValue(s.handle, object, []*pkcs11.Attribute{pkcs11.NewAttribute(kind, nil)})
	if err != nil {
		code := failed("", err)
		if hasCode(code, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID) || hasCode(code, pkcs11.CKR_ATTRIBUTE_SENSITIVE) {
			return nil, nil
		}
		return nil, s.broken("C_GetAttributeValue", err)
	}
	if len(a) != 1 {
		return nil, nil
	}
	return a[0].Value, nil
}

// named is a template of a class of objects with an id and a label, as far as they
// are known.
func named(class uint, id, label []byte) []*pkcs11.Attribute {
	t := []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, class), pkcs11.NewAttribute(pkcs11.CKA_TOKEN, true)}
	if len(id) > 0 {
		t = append(t, pkcs11.NewAttribute(pkcs11.CKA_ID, id))
	}
	if len(label) > 0 {
		t = append(t, pkcs11.NewAttribute(pkcs11.CKA_LABEL, label))
	}
	return t
}

// find does what wire.Find says.
func (l *library) find(f *wire.Find) (wire.Key, error) {
	if len(f.Public) == 0 && len(f.ID) == 0 && len(f.Label) == 0 {
		return wire.Key{}, trouble(wire.BadRequest, "the key has neither id, label nor public key")
	}
	var found wire.Key
	err := l.use(func(s *session) error {
		var k *key
		var err error
		if len(f.Public) > 0 {
			k, err = l.findPublic(s, bytes.Clone(f.Public))
		} else {
			k, err = l.findNamed(s, f.ID, f.Label)
		}
		if err != nil {
			return l.doubt(s, err)
		}
		found = l.remember(s, k)
		return nil
	})
	return found, err
}

// doubt makes sure of it that there is no key: to a session that was logged out behind
// our back, private keys are not to be seen (PKCS#11 v2.20, Section 6.7).
func (l *library) doubt(s *session, err error) error {
	var t *wire.Trouble
	if !l.user || !errors.As(err, &t) || t.Kind != wire.NoKey {
		return err
	}
	info, e := l.ctx.GetSessionInfo(s.handle)
	if e != nil {
		return s.broken("C_GetSessionInfo", e)
	}
	if info.State != pkcs11.CKS_RO_USER_FUNCTIONS && info.State != pkcs11.CKS_RW_USER_FUNCTIONS {
		return s.broken("C_FindObjects", pkcs11.Error(pkcs11.CKR_USER_NOT_LOGGED_IN))
	}
	return err
}

// remember gives a key a handle.
func (l *library) remember(s *session, k *key) wire.Key {
	h := l.handles.Add(1)
	l.keys.Store(h, k)
	s.keys[h] = k.first
	return wire.Key{Handle: h, ID: k.id, Label: k.label, Public: k.public}
}

// findNamed finds the one private key of that id and label.
func (l *library) findNamed(s *session, id, label []byte) (*key, error) {
	objects, err := l.objects(s, named(pkcs11.CKO_PRIVATE_KEY, id, label)...)
	if err != nil {
		return nil, err
	}
	switch len(objects) {
	case 0:
		return nil, trouble(wire.NoKey, "the token has no such private key")
	case 1:
		return l.describe(s, objects[0], nil)
	}
	return nil, trouble(wire.ManyKeys, "the token has %d private keys of that name", len(objects))
}

// findPublic finds the one private key that belongs to a public key.
func (l *library) findPublic(s *session, public []byte) (*key, error) {
	want, err := x509.ParsePKIXPublicKey(public)
	if err != nil {
		return nil, trouble(wire.BadRequest, "parsing the public key: %v", err)
	}
	objects, err := l.privateOf(s, want)
	if err != nil {
		return nil, err
	}
	switch len(objects) {
	case 0:
		return nil, trouble(wire.NoKey, "the token has no private key of that public key")
	case 1:
		return l.describe(s, objects[0], public)
	}
	return nil, trouble(wire.ManyKeys, "the token has %d private keys that may be the one of that public key", len(objects))
}

// describe reads what there is to know of a private key. public is its public key
// if that is known.
func (l *library) describe(s *session, object pkcs11.ObjectHandle, public []byte) (*key, error) {
	k := &key{first: object, public: public}
	var err error
	if k.id, err = l.attribute(s, object, pkcs11.CKA_ID); err != nil {
		return nil, err
	}
	if k.label, err = l.attribute(s, object, pkcs11.CKA_LABEL); err != nil {
		return nil, err
	}
	if k.kind, err = l.keyType(s, object); err != nil {
		return nil, err
	}
	if k.public == nil {
		if k.public, err = l.publicOf(s, k); err != nil {
			return nil, err
		}
	}
	if k.size, err = signatureSize(k.kind, k.public); err != nil {
		return nil, err
	}
	return k, nil
}

// keyType returns CKA_KEY_TYPE, which is a CK_ULONG.
func (l *library) keyType(s *session, object pkcs11.ObjectHandle) (uint, error) {
	b, err := l.attribute(s, object, pkcs11.CKA_KEY_TYPE)
	if err != nil {
		return 0, err
	}
	kind, ok := ulong(b)
	if !ok {
		return 0, trouble(wire.BadKey, "the token does not tell CKA_KEY_TYPE of the key")
	}
	return kind, nil
}

// lookup returns the key of a handle, and where it is for the session.
func (l *library) lookup(s *session, handle uint32) (*key, pkcs11.ObjectHandle, error) {
	v, ok := l.keys.Load(handle)
	if !ok {
		return nil, 0, &wire.Error{Call: "C_SignInit", Code: pkcs11.CKR_OBJECT_HANDLE_INVALID}
	}
	k := v.(*key)
	if object, ok := s.keys[handle]; ok {
		return k, object, nil
	}
	// Most libraries have one handle for all sessions, but not all do.
	template := append(named(pkcs11.CKO_PRIVATE_KEY, k.id, k.label), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, k.kind))
	objects, err := l.objects(s, template...)
	if err != nil {
		return nil, 0, err
	}
	object := k.first
	if len(objects) == 1 {
		object = objects[0]
	} else if len(objects) == 0 {
		return nil, 0, &wire.Error{Call: "C_FindObjects", Code: pkcs11.CKR_OBJECT_HANDLE_INVALID}
	}
	s.keys[handle] = object
	return k, object, nil
}
