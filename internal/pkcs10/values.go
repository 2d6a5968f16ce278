package pkcs10

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// String types that encoding/asn1 has and cryptobyte has not.
const (
	tagBMPString = cryptobyteasn1.Tag(asn1.TagBMPString)
	tagIA5String = cryptobyteasn1.IA5String
	tagT61String = cryptobyteasn1.T61String
)

// readPassword reads the text of a challengePassword. RFC 2985, Section 5.4.1
// makes it a DirectoryString; some clients write an IA5String.
func readPassword(value *cryptobyte.String, a *Attributes) error {
	var text cryptobyte.String
	var tag cryptobyteasn1.Tag
	if !value.ReadAnyASN1(&text, &tag) {
		return errors.New("it has no value")
	}
	var password string
	switch tag {
	case cryptobyteasn1.PrintableString, tagIA5String, tagT61String:
		// What T61 makes of other bytes nobody agrees on, and no base64 needs.
		if !ascii(text) {
			return errors.New("it is not ASCII, as its string type demands")
		}
		password = string(text)
	case cryptobyteasn1.UTF8String:
		if !utf8.Valid(text) {
			return errors.New("it is not valid UTF-8")
		}
		password = string(text)
	case tagBMPString:
		if len(text)%2 != 0 {
			return errors.New("its BMPString is cut off")
		}
		units := make([]uint16, len(text)/2)
		for i := range units {
			units[i] = uint16(text[2*i])<<8 | uint16(text[2*i+1])
			if utf16.IsSurrogate(rune(units[i])) {
				return errors.New("its BMPString holds a surrogate")
			}
		}
		password = string(utf16.Decode(units))
	default:
		return fmt.Errorf("it is of a type that is no string (tag 0x%02x)", uint8(tag))
	}
	if utf8.RuneCountInString(password) > maxPassword {
		return fmt.Errorf("it is longer than %d characters", maxPassword)
	}
	a.ChallengePassword, a.Linked = password, true
	return nil
}

func ascii(text []byte) bool {
	return !bytes.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
}

// readIdentifier reads the OCTET STRING that names a key.
func readIdentifier(value *cryptobyte.String) ([]byte, error) {
	var id cryptobyte.String
	switch {
	case !value.ReadASN1(&id, cryptobyteasn1.OCTET_STRING):
		return nil, errors.New("it is not an OCTET STRING")
	case len(id) == 0:
		return nil, errors.New("it is empty")
	case len(id) > maxIdentifier:
		return nil, fmt.Errorf("it is longer than %d bytes", maxIdentifier)
	}
	return bytes.Clone(id), nil
}

// readCapabilities reads SMIMECapabilities: RFC 8551, Section 2.5.2.
func readCapabilities(value *cryptobyte.String, a *Attributes) error {
	var list cryptobyte.String
	if !value.ReadASN1(&list, cryptobyteasn1.SEQUENCE) {
		return errors.New("it is not a SEQUENCE")
	}
	for n := 0; !list.Empty(); n++ {
		if n == maxCapabilities {
			return fmt.Errorf("it has more than %d entries", maxCapabilities)
		}
		var entry, id cryptobyte.String
		if !list.ReadASN1(&entry, cryptobyteasn1.SEQUENCE) || !entry.ReadASN1Element(&id, cryptobyteasn1.OBJECT_IDENTIFIER) {
			return errors.New("an entry is malformed")
		}
		c := Capability{}
		if !entry.Empty() {
			var parameters cryptobyte.String
			var tag cryptobyteasn1.Tag
			if !entry.ReadAnyASN1Element(&parameters, &tag) || !entry.Empty() {
				return errors.New("the parameters of an entry are malformed")
			}
			c.Parameters = bytes.Clone(parameters)
		}
		// An algorithm whose name is too large to hold is none that is known.
		if !id.ReadASN1ObjectIdentifier(&c.Algorithm) {
			continue
		}
		a.Capabilities = append(a.Capabilities, c)
	}
	return nil
}

// tagSubjectAlt marks the alternative names in ChangeSubjectName.
var tagSubjectAlt = cryptobyteasn1.Tag(1).Constructed().ContextSpecific()

// readChangeSubject reads ChangeSubjectName. RFC 6402, Section 2.8 gives
// neither field a tag, although both are SEQUENCEs; erratum 3943 gives [1] to the
// second. Implementations follow one or the other, and what stands in the
// SEQUENCEs tells them apart: a Name holds SETs, GeneralNames hold context tags.
func readChangeSubject(value *cryptobyte.String, a *Attributes) error {
	var fields cryptobyte.String
	if !value.ReadASN1(&fields, cryptobyteasn1.SEQUENCE) {
		return errors.New("it is not a SEQUENCE")
	}
	change := &ChangeSubject{}
	if nameAhead(fields) {
		var name cryptobyte.String
		fields.ReadASN1Element(&name, cryptobyteasn1.SEQUENCE)
		if err := checkName(name); err != nil {
			return err
		}
		change.Subject = bytes.Clone(name)
	}
	if !fields.Empty() {
		names, err := readSubjectAlt(&fields)
		if err != nil {
			return err
		}
		change.SubjectAlt = names
	}
	switch {
	case !fields.Empty():
		return errors.New("it has more than a subject and alternative names")
	case change.Subject == nil && change.SubjectAlt == nil:
		return errors.New("it asks for no change")
	}
	a.ChangeSubject = change
	return nil
}

// nameAhead reports whether a Name is next. An empty SEQUENCE is the empty name.
func nameAhead(s cryptobyte.String) bool {
	var content cryptobyte.String
	return s.ReadASN1(&content, cryptobyteasn1.SEQUENCE) && (content.Empty() || content.PeekASN1Tag(cryptobyteasn1.SET))
}

// readSubjectAlt reads GeneralNames that stand untagged, under an explicit [1] or
// in the place of an implicit one, and returns them as a SEQUENCE.
func readSubjectAlt(fields *cryptobyte.String) ([]byte, error) {
	var content cryptobyte.String
	switch {
	case fields.PeekASN1Tag(cryptobyteasn1.SEQUENCE):
		fields.ReadASN1(&content, cryptobyteasn1.SEQUENCE)
	case fields.ReadASN1(&content, tagSubjectAlt):
		if content.PeekASN1Tag(cryptobyteasn1.SEQUENCE) {
			explicit := content
			if !explicit.ReadASN1(&content, cryptobyteasn1.SEQUENCE) || !explicit.Empty() {
				return nil, errors.New("its alternative names are malformed")
			}
		}
	default:
		return nil, errors.New("it holds something that is neither a subject nor alternative names")
	}
	if content.Empty() {
		return nil, errors.New("its alternative names are none")
	}
	rest := content
	for n := 0; !rest.Empty(); n++ {
		var name cryptobyte.String
		var tag cryptobyteasn1.Tag
		switch {
		case n == maxNames:
			return nil, fmt.Errorf("it has more than %d alternative names", maxNames)
		case !rest.ReadAnyASN1(&name, &tag), tag&0xc0 != 0x80:
			return nil, errors.New("its alternative names are malformed")
		}
	}
	var b cryptobyte.Builder
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(content) })
	return b.Bytes()
}

// checkName checks the shape of a Name: a SEQUENCE of SETs of type and value.
func checkName(der cryptobyte.String) error {
	malformed := errors.New("its subject is malformed")
	var rdns cryptobyte.String
	if !der.ReadASN1(&rdns, cryptobyteasn1.SEQUENCE) || !der.Empty() {
		return malformed
	}
	n := 0
	for !rdns.Empty() {
		var rdn cryptobyte.String
		if !rdns.ReadASN1(&rdn, cryptobyteasn1.SET) || rdn.Empty() {
			return malformed
		}
		for !rdn.Empty() {
			var attribute, value cryptobyte.String
			var tag cryptobyteasn1.Tag
			if !rdn.ReadASN1(&attribute, cryptobyteasn1.SEQUENCE) || !attribute.SkipASN1(cryptobyteasn1.OBJECT_IDENTIFIER) ||
				!attribute.ReadAnyASN1(&value, &tag) || !attribute.Empty() {
				return malformed
			}
			if n++; n > maxNames {
				return fmt.Errorf("its subject has more than %d attributes", maxNames)
			}
		}
	}
	return nil
}
