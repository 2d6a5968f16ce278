package ocsp

import (
	"bytes"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"mintmark/internal/ledger"
)

const (
	// maxRequest bounds a request, in bytes of DER.
	maxRequest = 10 << 10
	// maxAsked bounds the certificates of one request.
	maxAsked = 8
	// maxNonce is the longest nonce (RFC 9654, Section 2.1).
	maxNonce = 128
	// maxInteger bounds a serial number that is asked for. None of ours is longer
	// than 20 octets, so that what is between is answered by "unknown".
	maxInteger = 64
	// maxExtensions bounds those of a request, and of one certificate in it.
	maxExtensions = 16
)

// request is an OCSPRequest (RFC 6960, Section 4.1.1). Who asks, and a signature
// of theirs, are not looked at.
type request struct {
	asked []certID
	nonce []byte // nil for none
}

// certID names a certificate by its issuer and serial number.
type certID struct {
	raw               []byte // as it was asked for, to be repeated in the answer
	hash              asn1.ObjectIdentifier
	nameHash, keyHash []byte
	serial            ledger.Serial // empty for one that no certificate of ours can have
}

// parseRequest reads a request. It takes DER only, and keeps parts of der.
func parseRequest(der []byte) (*request, error) {
	if len(der) > maxRequest {
		return nil, fmt.Errorf("the request has more than %d bytes", maxRequest)
	}
	input := cryptobyte.String(der)
	var outer, tbs, list, extensions cryptobyte.String
	var more bool
	if !input.ReadASN1(&outer, cbasn1.SEQUENCE) || !input.Empty() ||
		!outer.ReadASN1(&tbs, cbasn1.SEQUENCE) ||
		!outer.SkipOptionalASN1(explicit(0)) || !outer.Empty() { // optionalSignature
		return nil, errors.New("not an OCSPRequest")
	}
	if err := checkVersion(&tbs); err != nil {
		return nil, err
	}
	if !tbs.SkipOptionalASN1(explicit(1)) || // requestorName
		!tbs.ReadASN1(&list, cbasn1.SEQUENCE) ||
		!tbs.ReadOptionalASN1(&extensions, &more, explicit(2)) || !tbs.Empty() {
		return nil, errors.New("malformed TBSRequest")
	}
	r := &request{}
	for !list.Empty() {
		if len(r.asked) == maxAsked {
			return nil, fmt.Errorf("more than %d certificates are asked about", maxAsked)
		}
		id, err := readRequest(&list)
		if err != nil {
			return nil, err
		}
		r.asked = append(r.asked, id)
	}
	if len(r.asked) == 0 {
		return nil, errors.New("no certificate is asked about")
	}
	if more {
		return r, readExtensions(extensions, r.extension)
	}
	return r, nil
}

// checkVersion takes a version away, which can only be v1.
func checkVersion(tbs *cryptobyte.String) error {
	var version cryptobyte.String
	var given bool
	if !tbs.ReadOptionalASN1(&version, &given, explicit(0)) {
		return errors.New("malformed version")
	}
	var v int
	if given && (!version.ReadASN1Integer(&v) || !version.Empty() || v != 0) {
		return errors.New("the version is not v1")
	}
	return nil
}

// readRequest reads one Request of the list.
func readRequest(list *cryptobyte.String) (certID, error) {
	var one, extensions cryptobyte.String
	var more bool
	if !list.ReadASN1(&one, cbasn1.SEQUENCE) {
		return certID{}, errors.New("malformed Request")
	}
	id, err := readCertID(&one)
	if err != nil {
		return certID{}, err
	}
	if !one.ReadOptionalASN1(&extensions, &more, explicit(0)) || !one.Empty() {
		return certID{}, errors.New("malformed Request")
	}
	if more {
		err = readExtensions(extensions, func(asn1.ObjectIdentifier, []byte) (bool, error) { return false, nil })
	}
	return id, err
}

func readCertID(in *cryptobyte.String) (id certID, err error) {
	malformed := errors.New("malformed CertID")
	var raw, body, algorithm, parameters, number cryptobyte.String
	if !in.ReadASN1Element(&raw, cbasn1.SEQUENCE) {
		return certID{}, malformed
	}
	id.raw = raw
	if !raw.ReadASN1(&body, cbasn1.SEQUENCE) ||
		!body.ReadASN1(&algorithm, cbasn1.SEQUENCE) ||
		!body.ReadASN1((*cryptobyte.String)(&id.nameHash), cbasn1.OCTET_STRING) ||
		!body.ReadASN1((*cryptobyte.String)(&id.keyHash), cbasn1.OCTET_STRING) ||
		!body.ReadASN1(&number, cbasn1.INTEGER) || !body.Empty() ||
		!algorithm.ReadASN1ObjectIdentifier(&id.hash) {
		return certID{}, malformed
	}
	if !algorithm.Empty() && (!algorithm.ReadASN1(&parameters, cbasn1.NULL) || !parameters.Empty() || !algorithm.Empty()) {
		return certID{}, malformed
	}
	if id.serial, err = readSerial(number); err != nil {
		return certID{}, err
	}
	return id, nil
}

// readSerial turns the content of an INTEGER into the ledger's form.
func readSerial(number []byte) (ledger.Serial, error) {
	if len(number) == 0 || len(number) > maxInteger {
		return "", errors.New("malformed serial number")
	}
	if len(number) > 1 && (number[0] == 0 && number[1] < 0x80 || number[0] == 0xff && number[1] >= 0x80) {
		return "", errors.New("the serial number is not in DER")
	}
	if number[0] >= 0x80 {
		return "", nil // negative
	}
	number = bytes.TrimLeft(number, "\x00")
	if len(number) == 0 || len(number) > 20 {
		return "", nil
	}
	return ledger.Serial(hex.EncodeToString(number)), nil
}

// extension takes one of a request; only the nonce is known.
func (r *request) extension(oid asn1.ObjectIdentifier, value []byte) (known bool, err error) {
	if !oid.Equal(oidNonce) {
		return false, nil
	}
	input := cryptobyte.String(value)
	var nonce cryptobyte.String
	if r.nonce != nil || !input.ReadASN1(&nonce, cbasn1.OCTET_STRING) || !input.Empty() {
		return true, errors.New("malformed nonce")
	}
	if len(nonce) == 0 || len(nonce) > maxNonce {
		return true, fmt.Errorf("the nonce has %d octets, and not 1 to %d", len(nonce), maxNonce)
	}
	r.nonce = nonce
	return true, nil
}

// readExtensions hands each extension to take. An unknown one that is critical
// refuses the request (RFC 6960, Section 4.4).
func readExtensions(in cryptobyte.String, take func(oid asn1.ObjectIdentifier, value []byte) (known bool, err error)) error {
	malformed := errors.New("malformed extensions")
	var list cryptobyte.String
	if !in.ReadASN1(&list, cbasn1.SEQUENCE) || !in.Empty() || list.Empty() {
		return malformed
	}
	for n := 0; !list.Empty(); n++ {
		var one, value cryptobyte.String
		var oid asn1.ObjectIdentifier
		var critical bool
		if n == maxExtensions || !list.ReadASN1(&one, cbasn1.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&oid) {
			return malformed
		}
		if one.PeekASN1Tag(cbasn1.BOOLEAN) && !one.ReadASN1Boolean(&critical) {
			return malformed
		}
		if !one.ReadASN1(&value, cbasn1.OCTET_STRING) || !one.Empty() {
			return malformed
		}
		known, err := take(oid, value)
		if err != nil {
			return err
		}
		if critical && !known {
			return fmt.Errorf("the critical extension %s is not known here", oid)
		}
	}
	return nil
}

// explicit is the tag [n] EXPLICIT.
func explicit(n uint8) cbasn1.Tag { return cbasn1.Tag(n).ContextSpecific().Constructed() }
