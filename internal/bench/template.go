package bench

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"mintmark/internal/ledger"
	"mintmark/internal/ledger/sqldb"
	"mintmark/issuer"
)

// A template is an enrollment that the server has really recorded. Others are made of it that
// differ as two enrollments of the same kind do: in serial number, times, name and
// key, and so in the key identifier, all of which have the same length. Each has a signature of
// its own by the CA.
type template struct {
	intent ledger.Intent
	tbs    []byte
	places struct{ serial, notBefore, notAfter, point, keyID []int }
	name   []int // where the name of the device begins
	sigAlg []byte
	signer crypto.Signer
}

const utcTime = "060102150405Z" // RFC 5280, Section 4.1.2.5.1

// keyIDSize is the size of a key identifier (RFC 7093, Section 2, method 1).
const keyIDSize = 20

func newTemplate(e sqldb.Filled, signer crypto.Signer) (*template, error) {
	certificate, err := x509.ParseCertificate(e.Issued.DER)
	if err != nil {
		return nil, err
	}
	key, ok := certificate.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("a certificate for a key of type %T where one of P-256 belongs", certificate.PublicKey)
	}
	point, err := key.Bytes()
	if err != nil {
		return nil, err
	}
	id := sha256.Sum256(point)
	t := &template{intent: e.Intent, tbs: certificate.RawTBSCertificate, signer: signer}
	for _, part := range []struct {
		what  string
		bytes []byte
		to    *[]int
		many  bool
	}{
		{"serial number", certificate.SerialNumber.Bytes(), &t.places.serial, false},
		{"beginning", []byte(certificate.NotBefore.UTC().Format(utcTime)), &t.places.notBefore, false},
		{"end", []byte(certificate.NotAfter.UTC().Format(utcTime)), &t.places.notAfter, false},
		{"public key", point, &t.places.point, false},
		{"key identifier", id[:keyIDSize], &t.places.keyID, false},
		{"name", []byte(e.Intent.Device), &t.name, true},
	} {
		*part.to = find(t.tbs, part.bytes)
		if n := len(*part.to); n == 0 || n > 1 && !part.many {
			return nil, fmt.Errorf("the %s is at %d places of the certificate", part.what, n)
		}
	}
	if certificate.SignatureAlgorithm != x509.ECDSAWithSHA256 || !bytes.Equal(e.Intent.TBS, t.tbs) {
		return nil, errors.New("the certificate is not the one of its intent, or is not signed with ECDSA and SHA-256")
	}
	var whole, inner cryptobyte.String = certificate.Raw, nil
	if !whole.ReadASN1(&inner, asn1.SEQUENCE) || !inner.SkipASN1(asn1.SEQUENCE) {
		return nil, errors.New("the certificate has no algorithm")
	}
	var algorithm cryptobyte.String
	if !inner.ReadASN1Element(&algorithm, asn1.SEQUENCE) {
		return nil, errors.New("the certificate has no algorithm")
	}
	t.sigAlg = algorithm
	return t, nil
}

func find(in, what []byte) (places []int) {
	for from := 0; ; {
		i := bytes.Index(in[from:], what)
		if i < 0 {
			return places
		}
		places, from = append(places, from+i), from+i+len(what)
	}
}

// enroll makes the enrollment of a device, whose name is as long as that of the template. The
// requester is the template's if empty.
func (t *template) enroll(epoch ledger.Epoch, device, requester string, now time.Time) (sqldb.Filled, error) {
	if len(device) != len(t.intent.Device) {
		return sqldb.Filled{}, fmt.Errorf("the name %q is not as long as %q", device, t.intent.Device)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return sqldb.Filled{}, err
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return sqldb.Filled{}, err
	}
	info, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return sqldb.Filled{}, err
	}
	serial := issuer.NewSerial(now)
	moved := now.Sub(t.intent.At).Truncate(time.Second)
	i := t.intent
	i.NotBefore, i.NotAfter = i.NotBefore.Add(moved), i.NotAfter.Add(moved)
	id := sha256.Sum256(point)
	tbs := bytes.Clone(t.tbs)
	put := func(places []int, b []byte) {
		for _, at := range places {
			copy(tbs[at:], b)
		}
	}
	put(t.places.serial, serial.Bytes())
	put(t.places.notBefore, []byte(i.NotBefore.UTC().Format(utcTime)))
	put(t.places.notAfter, []byte(i.NotAfter.UTC().Format(utcTime)))
	put(t.places.point, point)
	put(t.places.keyID, id[:keyIDSize])
	put(t.name, []byte(device))

	i.Epoch, i.Serial, i.Device, i.Key, i.TBS, i.At = epoch, issuer.SerialOf(serial), device, sha256.Sum256(info), tbs, now
	i.Subject = strings.ReplaceAll(i.Subject, t.intent.Device, device)
	if requester != "" {
		i.Requester.Name = requester
	}
	digest := sha256.Sum256(tbs)
	signature, err := t.signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return sqldb.Filled{}, err
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(t.sigAlg)
		b.AddASN1BitString(signature)
	})
	der, err := b.Bytes()
	return sqldb.Filled{Intent: i, Issued: ledger.Issued{Serial: i.Serial, DER: der, At: now}}, err
}
